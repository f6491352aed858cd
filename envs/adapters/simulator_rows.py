"""Rows of a simulator's env held still: what does not depend on which simulator it is."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from typing import TYPE_CHECKING

import torch

from holdstep.envs.state.hooks import InstanceHooks
from holdstep.envs.state.per_env_random import PerEnvRandom
from holdstep.envs.state.put_back import PutBackControl
from holdstep.envs.state.registry import StateRegistry
from holdstep.envs.state.slot import random_slots

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdstep.envs.adapters.random_scopes import RandomScopes
    from holdstep.envs.adapters.simulator_env import SimulatorEnv
    from holdstep.envs.capabilities import RngScope
    from holdstep.envs.contract import Obs, StepResult
    from holdstep.envs.last_obs import LastObs
    from holdstep.envs.state.slot import Slot


class SimulatorRowControl(PutBackControl):
    """Steps the simulator with some rows held, and gives rows random streams of their own.

    The timers of held rows (pushes, command resampling) are stopped for the step, so that nothing
    happens to a held row that others could notice.

    Args:
        env: the adapter.
        last_obs: its last observations.
        rng: ``"per_env"`` redirects the simulator's draws to a stream for each row.
        seed: of these streams, until a reset names another; None draws one.
    """

    env: SimulatorEnv

    def __init__(
        self, env: SimulatorEnv, last_obs: LastObs, *, rng: RngScope, seed: int | None
    ) -> None:
        super().__init__(env, last_obs, rng=rng)
        self._hooks = InstanceHooks()
        self._timers: Sequence[torch.Tensor] = ()
        self._shape: tuple[int, ...] = ()
        self._random: PerEnvRandom | None = None
        self._scopes: RandomScopes | None = None
        if rng == "per_env":
            self._random = PerEnvRandom(env.num_envs, env.device, seed)
            self._scopes = self._make_scopes(self._random)

    @abstractmethod
    def _make_scopes(self, random: PerEnvRandom) -> RandomScopes:
        """Hook the simulator's functions that draw for certain rows."""

    @abstractmethod
    def _has_unconditional_events(self) -> bool:
        """Whether some event happens to all rows at once, held or not, within a step."""

    @abstractmethod
    def _slots(self) -> Iterable[Slot]:
        """The table of the simulator's row state."""

    @abstractmethod
    def _constant_sizes(self) -> Iterable[int]:
        """Sizes of the task that are no number of rows."""

    @abstractmethod
    def _shape_of_tables(self) -> tuple[int, ...]:
        """Changes when the simulator's objects get state that they had not, as buffers do."""

    def around_backend(self) -> contextlib.AbstractContextManager[None] | None:
        """What the backend's reset and step are to run in; None for nothing."""
        return None if self._random is None else self._random.active()

    def around_observation(self) -> contextlib.AbstractContextManager[None]:
        """What an observation that is to leave no trace is to run in."""
        return contextlib.nullcontext() if self._random is None else self._random.preserved()

    def reseed(self, seed: int, env_ids: torch.Tensor | None = None) -> None:
        """Start the random streams of rows, int64 ``[k]`` or all, anew, if they have their own."""
        if self._random is not None:
            self._random.reseed(seed, env_ids)

    def close(self) -> None:
        """Unhook everything, and let the adapter make another control."""
        super().close()
        if self._scopes is not None:
            self._scopes.remove()
        if self._random is not None:
            self._random.close()
        self.env.row_control_closed()

    def _unhook(self) -> None:
        self._hooks.remove()

    def _make_registry(self) -> StateRegistry:
        registry = StateRegistry(
            [
                *self._slots(),
                *self.env.user_state.slots.values(),
                *([] if self._random is None else random_slots(self._random)),
            ],
            num_envs=self.env.num_envs,
            constant_sizes=self._constant_sizes(),
        )
        self._shape = self._shape_of_tables()
        return registry

    def _before_copying(self, env_ids: torch.Tensor) -> None:
        if self._registry is None or self._shape == self._shape_of_tables():
            return
        # Buffers have been made since. Between steps, held rows are as they were: copy them anew.
        self._registry = self._store = None
        if self._num_held:
            self._current_obs = self._last_obs.buffers
            with torch.inference_mode(False), torch.no_grad():
                self._row_store().hold(self._held_mask.nonzero().squeeze(-1))

    def _moving_slots(self) -> list[Slot]:
        if self._has_unconditional_events():
            return list(self.registry)  # events that can't be kept from held rows may change all
        return self.registry.moving()

    def _advance(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        try:
            for timer in self._timers:
                timer.masked_fill_(self._held_mask, torch.inf)
            obs, reward, terminated, truncated, info = self.env.advance(actions)
        except BaseException:
            self._end_step(self._last_obs.buffers)  # a held row outlives a failure of the others
            raise
        self._end_step(obs)
        self.show_held_rows_as_they_are(info.get("final_obs", {}))
        info["active"] = active_mask.clone()
        return (
            self._last_obs.keep(obs, self._held_mask),
            reward.masked_fill_(self._held_mask, 0.0),
            terminated.logical_and_(active_mask),
            truncated.logical_and_(active_mask),
            info,
        )

    def _end_step(self, obs: Obs) -> None:
        """The simulator's step is over: put back."""
        self.put_back(obs)
