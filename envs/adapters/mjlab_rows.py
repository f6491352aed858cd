"""Rows of an mjlab env held still, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.adapters import mjlab_state
from holdstep.envs.adapters.mjlab_compact import CompactPhysics
from holdstep.envs.adapters.mjlab_random import MjlabRandomScopes
from holdstep.envs.adapters.simulator_rows import SimulatorRowControl
from holdstep.envs.state.hooks import InstanceHooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdstep.envs.adapters.mjlab import MjlabEnv
    from holdstep.envs.capabilities import RngScope
    from holdstep.envs.contract import Obs, StepResult
    from holdstep.envs.last_obs import LastObs
    from holdstep.envs.state.discovery import FoundTensor
    from holdstep.envs.state.per_env_random import PerEnvRandom
    from holdstep.envs.state.slot import Slot


class MjlabRowControl(SimulatorRowControl):
    """Holds rows of an mjlab env.

    While rows are held, three methods of the env's own objects are hooked:

    - ``termination_manager.compute``: held rows don't end, so nothing is reset, logged, exported or
      counted by a curriculum.
    - ``recorder_manager.record_post_step``: called when the held rows are back, and with
      ``reset_buf`` set for them, which is how mjlab's recorder terms know rows to leave out.
    - ``sim.forward``: drops the sensors' caches. mjlab drops them when *any* row resets, so that
      otherwise one row's contact forces would depend on whether another one resets
      (mujocolab/mjlab#588). With ``rng="per_env"`` this hook is on all the time, because rows are
      to be independent of each other then.
    """

    env: MjlabEnv

    def __init__(self, env: MjlabEnv, last_obs: LastObs, *, rng: RngScope) -> None:
        self._cache_hook = InstanceHooks()
        super().__init__(env, last_obs, rng=rng, seed=env.cfg.seed)
        self._backend_env: Any = env.backend_env
        self._record: Callable[[], None] | None = None
        self._state = mjlab_state.MjlabState(self._backend_env)
        self._sensors = mjlab_state.sensors(self._backend_env)
        self._timers = mjlab_state.row_timers(self._backend_env)
        if rng == "per_env":
            self._hook_forward()

    def close(self) -> None:
        """Unhook everything, and let the adapter make another control."""
        self._cache_hook.remove()
        super().close()

    def _slots(self) -> Iterator[Slot]:
        yield from self._state.slots()
        if self.env._cameras is not None:
            yield from self.env._cameras.slots()

    def _constant_sizes(self) -> set[int]:
        return mjlab_state.constant_sizes(self._backend_env)

    def _shape_of_tables(self) -> tuple[int, ...]:
        return self._state.shape()

    def _make_scopes(self, random: PerEnvRandom) -> MjlabRandomScopes:
        return MjlabRandomScopes(self.env.backend_env, random)

    def _has_unconditional_events(self) -> bool:
        return mjlab_state.has_unconditional_events(self._backend_env)

    def _advance(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        self._record = None
        return super()._advance(actions, active_mask)

    def _end_step(self, obs: Obs) -> None:
        super()._end_step(obs)
        if self._record is not None:
            self._record_active_rows(self._record)

    def _is_stateless_tensor(self, found: FoundTensor) -> bool:
        return mjlab_state.is_own(found.owner) and not found.names.isdisjoint(
            mjlab_state.CONSTANTS | mjlab_state.OUTPUTS
        )

    def _hook(self) -> None:
        env = self._backend_env
        self._hooks.shadow(env.termination_manager, "compute", self._without_held_rows)
        if env.recorder_manager.active_terms:
            self._hooks.shadow(env.recorder_manager, "record_post_step", self._put_off)
        if self.rng != "per_env":
            self._hook_forward()

    def _unhook(self) -> None:
        super()._unhook()
        if self.rng != "per_env":
            self._cache_hook.remove()

    def _hook_forward(self) -> None:
        self._cache_hook.shadow(self._backend_env.sim, "forward", self._then_drop_caches)

    def _without_held_rows(self, compute: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        manager = self._backend_env.termination_manager
        flags = [manager._truncated_buf, manager._terminated_buf, *manager._term_dones.values()]

        def compute_active() -> torch.Tensor:
            dones = compute()
            for flag in (dones, *flags):
                flag.masked_fill_(self._held_mask, False)
            return dones

        return compute_active

    def _put_off(self, record: Callable[[], None]) -> Callable[[], None]:
        def put_off() -> None:
            if not self.holds_any:
                record()
            else:
                self._record = record

        return put_off

    def _record_active_rows(self, record: Callable[[], None]) -> None:
        reset_buf = self._backend_env.reset_buf
        self._backend_env.reset_buf = reset_buf | self._held_mask
        try:
            record()
        finally:
            self._backend_env.reset_buf = reset_buf

    def _then_drop_caches(self, forward: Callable[[], None]) -> Callable[[], None]:
        def forward_and_drop_caches() -> None:
            forward()
            self._drop_caches()

        return forward_and_drop_caches

    def _drop_caches(self) -> None:
        for sensor in self._sensors:
            sensor._invalidate_cache()


class MjlabSkipControl(MjlabRowControl):
    """Holds rows of an mjlab env on the CPU without computing their physics.

    What is left of a held row's step is mjlab's own bookkeeping, which works on all rows at once;
    that is put back, as at level "exact".
    """

    level = "skip"

    def __init__(self, env: MjlabEnv, last_obs: LastObs, *, rng: RngScope) -> None:
        super().__init__(env, last_obs, rng=rng)
        self._physics = CompactPhysics(self._backend_env.sim)

    def _hook(self) -> None:
        super()._hook()
        sim = self._backend_env.sim
        self._hooks.shadow(sim, "step", lambda _: self._physics.step)
        self._hooks.shadow(sim, "forward", lambda _: self._forward)

    def _forward(self) -> None:
        self._physics.forward()
        self._drop_caches()

    def _held_rows_changed(self) -> None:
        self._physics.select(~self._held_mask)
