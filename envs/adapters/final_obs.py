"""The last observation of an episode, taken from backends that reset inside their own ``step``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.observations import add_final_obs
from holdstep.envs.state.hooks import InstanceHooks

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs

RESET_METHOD = "_reset_idx"
"""mjlab and Isaac Lab (2.3 and 3.0, both workflows) all reset the rows that ended through a method
of this name, after rewards and terminations are computed and before the next observation is."""


class FinalObsHook:
    """Observes the rows that ended just before the backend resets them.

    While it is installed, the backend object's own reset method is shadowed by an attribute of that
    *instance*; :meth:`remove` deletes the attribute again. Resets outside a step pass through.

    Args:
        backend_env: the simulator's env object.
        observe: computes the observations of all rows as they are now, and leaves no trace; gets
            the ids of the rows that ended, int64 ``[k]``.
    """

    def __init__(self, backend_env: Any, observe: Callable[[torch.Tensor], Obs]) -> None:
        self._backend_env = backend_env
        self._observe = observe
        self._hooks = InstanceHooks()
        self._in_step = False
        self._final_obs: Obs | None = None
        self._ended_mask: torch.Tensor | None = None

    @property
    def installed(self) -> bool:
        """Whether the backend's reset method is hooked by this object now."""
        return bool(self._hooks)

    def install(self) -> None:
        """Hook the backend's reset method."""
        if not self.installed:
            self._hooks.shadow(self._backend_env, RESET_METHOD, self._observing_first)

    def remove(self) -> None:
        """Give the backend back what was there before."""
        self._hooks.remove()

    def __enter__(self) -> None:
        self._final_obs = self._ended_mask = None
        self._in_step = True

    def __exit__(self, *exc_info: object) -> None:
        self._in_step = False

    def add_to(self, info: Info) -> None:
        """Put ``final_obs`` and its mask into a step's info when a row ended in that step."""
        if self._final_obs is not None and self._ended_mask is not None:
            add_final_obs(info, self._final_obs, self._ended_mask)

    def _observing_first(self, reset: Callable[..., Any]) -> Callable[..., Any]:
        def observe_then_reset(env_ids: Any = None, *args: Any, **kwargs: Any) -> Any:
            # A later hook may have been put over this one, which then stays there when removed.
            if self._in_step and self.installed:
                self._take(env_ids)
            return reset(env_ids, *args, **kwargs)

        return observe_then_reset

    def _take(self, env_ids: Any) -> None:
        env = self._backend_env
        ended = torch.as_tensor(env_ids, device=env.device).long()
        mask = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        mask[ended] = True
        self._final_obs = self._observe(ended)
        self._ended_mask = mask
