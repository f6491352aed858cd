"""Direct tasks whose resets step the simulation, and with it the rows that are not reset."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from holdstep.envs.adapters.final_obs import RESET_METHOD
from holdstep.envs.state.hooks import InstanceHooks
from holdstep.errors import CapabilityError


class SimulatingResetsWarning(UserWarning):
    """A task that simulates within its resets has rows whose episodes are out of step."""


class SimulatingResets:
    """Notices them in the resets of all rows, and says so before some rows are reset alone.

    Isaac Lab's Factory, Forge and AutoMate tasks move their arms into place that way. Their rows
    all end in the same step; with fewer, the tasks raise an error about a tensor's shape, or give
    one row's pose to all.

    Args:
        core: a ``DirectRLEnv`` or ``DirectMARLEnv``; another env has no such resets.
    """

    def __init__(self, core: Any) -> None:
        self._core = core
        self._num_steps = 0
        self._is_said = False
        self._hooks = InstanceHooks()
        if not hasattr(core, "termination_manager"):
            self._hooks.shadow(core, RESET_METHOD, self._watched)

    @property
    def why_not_alone(self) -> str | None:
        """Why some rows should not be reset without the others; None where they may be."""
        if self._num_steps == 0:
            return None
        return (
            f"{type(self._core).__name__} simulates within its resets: {self._num_steps} physics "
            "steps of all rows. Rows that are not reset move along, and the task may rely on all "
            "rows being reset at once. Keep its rows in step: reset all of them, suspend all of "
            "them or none, and leave their episodes' clocks alone."
        )

    def warn(self) -> None:
        """Rows get out of step: say what that does, the first time."""
        if self.why_not_alone is not None and not self._is_said:
            self._is_said = True
            warnings.warn(self.why_not_alone, SimulatingResetsWarning, stacklevel=2)

    def remove(self) -> None:
        """Stop looking."""
        self._hooks.remove()

    def _watched(self, reset: Callable[..., Any]) -> Callable[..., Any]:
        def watched_reset(env_ids: Any = None, *args: Any, **kwargs: Any) -> Any:
            if env_ids is None or len(env_ids) == self._core.num_envs:
                return self._counting(reset)(env_ids, *args, **kwargs)
            self.warn()
            try:
                return reset(env_ids, *args, **kwargs)
            except Exception as error:
                if self.why_not_alone is None:
                    raise
                raise CapabilityError(
                    f"{self.why_not_alone} Now {len(env_ids)} of {self._core.num_envs} rows were "
                    f"reset, which has raised {type(error).__name__}: {error}"
                ) from error

        return watched_reset

    def _counting(self, reset: Callable[..., Any]) -> Callable[..., Any]:
        def count(step: Callable[..., Any]) -> Callable[..., Any]:
            def counted_step(*args: Any, **kwargs: Any) -> Any:
                self._num_steps += 1
                return step(*args, **kwargs)

            return counted_step

        def counted_reset(*args: Any, **kwargs: Any) -> Any:
            hooks = InstanceHooks()
            self._num_steps = 0
            hooks.shadow(self._core.sim, "step", count)
            try:
                return reset(*args, **kwargs)
            finally:
                hooks.remove()

        return counted_reset
