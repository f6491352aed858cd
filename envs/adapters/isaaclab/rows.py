"""Rows of an Isaac Lab env held still."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.adapters.isaaclab.learners import warn_of_learners
from holdstep.envs.adapters.isaaclab.plain import as_tensor
from holdstep.envs.adapters.isaaclab.random_scopes import IsaacLabRandomScopes
from holdstep.envs.adapters.isaaclab.state import IsaacLabState
from holdstep.envs.adapters.isaaclab.state_names import CONSTANTS, OUTPUTS, TOUCHED_BY_SETTERS
from holdstep.envs.adapters.simulator_rows import SimulatorRowControl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdstep.envs.adapters.isaaclab.adapter import IsaacLabEnv
    from holdstep.envs.adapters.isaaclab.physics import Physics
    from holdstep.envs.capabilities import RngScope
    from holdstep.envs.contract import Obs
    from holdstep.envs.last_obs import LastObs
    from holdstep.envs.state.discovery import FoundTensor
    from holdstep.envs.state.per_env_random import PerEnvRandom
    from holdstep.envs.state.slot import Slot
    from holdstep.envs.state.snapshot import Snapshot

_FOREIGN = ("newton", "pxr", "omni", "isaacsim", "carb", "isaaclab.sim", "isaaclab_newton.physics")
"""Modules whose objects are the engine's: their row state is in the table or not to be had."""


class IsaacLabRowControl(SimulatorRowControl):
    """Holds rows of an Isaac Lab env, manager-based or direct.

    While rows are held, methods of the env's own objects are hooked:

    - ``termination_manager.compute`` (direct envs: ``_get_dones``): held rows don't end, so nothing
      is reset, logged, exported or counted by a curriculum for them.
    - ``recorder_manager.add_to_episodes``: what is recorded for all rows at once is recorded for
      the active ones.

    With ``rng="per_env"`` more is hooked, all the time, because rows are to be independent of each
    other then: see :class:`~holdstep.envs.adapters.isaaclab.random_scopes.IsaacLabRandomScopes`.
    Nothing else of a stock Newton env was found to tie rows together: kinematics that are computed
    anew for all rows when one is reset come out the same, bit for bit.
    """

    env: IsaacLabEnv

    def __init__(
        self, env: IsaacLabEnv, core: Any, physics: Physics, last_obs: LastObs, *, rng: RngScope
    ) -> None:
        self._core = core
        super().__init__(env, last_obs, rng=rng, seed=_seed_of(core))
        self.level = physics.level
        self._physics = physics
        self._state = IsaacLabState(core, physics)
        warn_of_learners(core)
        self._held_ids = torch.empty(0, dtype=torch.int64, device=env.device)
        self._active_ids: list[int] = []

    def hold(self, env_ids: torch.Tensor) -> None:
        """Copy the rows as they are now."""
        is_first = self._num_held == 0
        super().hold(env_ids)
        if env_ids.numel():
            self._state.lazy.note_hold(is_first=is_first)
            self._physics.note_wrenches(is_first=is_first)

    def put_back(self, obs: Obs) -> None:
        """Write the held rows back, also their rows in the observations of this step."""
        super().put_back(obs)
        self._state.lazy.held_rows_written(self._held_mask)
        self._physics.apply_wrenches()

    def snapshot(self, env_ids: torch.Tensor) -> Snapshot:
        """Everything that the registry knows of the rows."""
        with self._physics.untouched():
            return super().snapshot(env_ids)

    def _slots(self) -> Iterator[Slot]:
        return self._state.slots()

    def _constant_sizes(self) -> Iterable[int]:
        return self._state.constant_sizes()

    def _shape_of_tables(self) -> tuple[int, ...]:
        return self._state.shape_of_tables()

    def _make_scopes(self, random: PerEnvRandom) -> IsaacLabRandomScopes:
        return IsaacLabRandomScopes(self._core, random)

    def _has_unconditional_events(self) -> bool:
        return self._state.has_unconditional_events()

    def _before_copying(self, env_ids: torch.Tensor) -> None:
        self._physics.settle(env_ids)
        super()._before_copying(env_ids)

    def _restored(self, snapshot: Snapshot, env_ids: torch.Tensor) -> None:
        is_moved = self._physics.restored(env_ids)
        rows = snapshot.rows
        touched = {name: rows[name] for name in rows if name.endswith(TOUCHED_BY_SETTERS)}
        self.registry.scatter(touched, env_ids)
        mask = torch.zeros_like(self._held_mask)
        mask[env_ids] = True
        self._state.lazy.rows_written(mask, () if is_moved else rows.keys())

    def _end_step(self, obs: Obs) -> None:
        with torch.inference_mode(False), torch.no_grad():
            self._physics.push(self._held_ids)
            super()._end_step(obs)

    def _held_rows_changed(self) -> None:
        self._held_ids = self._held_mask.nonzero().squeeze(-1)
        self._active_ids = (~self._held_mask).nonzero().squeeze(-1).tolist()
        if self._active_ids:
            self.env.simulating_resets.warn()

    def _is_stateless_tensor(self, found: FoundTensor) -> bool:
        return not found.names.isdisjoint(CONSTANTS | OUTPUTS)

    def _is_stateless(self, owner: object) -> bool:
        kind = type(owner)
        return (
            super()._is_stateless(owner)
            or kind.__module__.startswith(_FOREIGN)
            or kind.__name__.startswith(("TimestampedBuffer", "ProxyArray"))
        )

    def _drop_caches(self) -> None:
        """Nothing: derived quantities are put back or computed anew."""

    def _hook(self) -> None:
        core = self._core
        self._timers = self._state.timers()
        if hasattr(core, "termination_manager"):
            self._hooks.shadow(core.termination_manager, "compute", self._without_held_rows)
        else:
            self._hooks.shadow(core, "_get_dones", self._without_held_dones)
        recorder_manager = getattr(core, "recorder_manager", None)
        if recorder_manager is not None and recorder_manager.active_terms:
            self._hooks.shadow(recorder_manager, "add_to_episodes", self._of_active_rows)

    def _unhook(self) -> None:
        super()._unhook()
        self._timers = ()

    def _without_held_rows(self, compute: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        manager = self._core.termination_manager

        def compute_active() -> torch.Tensor:
            # Read before the step is over: the log's means are over all rows, a recorder asks for
            # the term that fired.
            flags = [manager._term_dones, manager._last_episode_dones]
            before = [flag.clone() for flag in flags]
            compute()
            held = self._held_mask
            for flag, old in zip(flags, before, strict=True):
                torch.where(held[:, None], old, flag, out=flag)
            manager._terminated_buf.masked_fill_(held, False)
            manager._truncated_buf.masked_fill_(held, False)
            dones: torch.Tensor = manager._terminated_buf | manager._truncated_buf
            return dones

        return compute_active

    def _without_held_dones(self, get_dones: Callable[[], Any]) -> Callable[[], Any]:
        def get_active_dones() -> Any:
            # Not in place: they may be buffers of the task's own.
            return tuple(self._masked(dones) for dones in get_dones())

        return get_active_dones

    def _masked(self, dones: Any) -> Any:
        if isinstance(dones, Mapping):  # by agent
            return {agent: self._masked(of_agent) for agent, of_agent in dones.items()}
        tensor = as_tensor(dones)
        return dones if tensor is None else tensor.bool() & ~self._held_mask

    def _of_active_rows(self, add_to_episodes: Callable[..., None]) -> Callable[..., None]:
        def add_active(key: str | None, value: Any, env_ids: Any = None) -> None:
            if env_ids is None and key is not None and self._num_held:
                value, env_ids = self._active_rows_of(value), self._active_ids
            add_to_episodes(key, value, env_ids)

        return add_active

    def _active_rows_of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._active_rows_of(item) for key, item in value.items()}
        tensor = as_tensor(value)
        return value if tensor is None else tensor[self._active_ids]


def _seed_of(core: Any) -> int | None:
    """The seed of the task's configuration; Isaac Lab's -1 and None mean any."""
    seed = getattr(core.cfg, "seed", None)
    return None if seed is None or seed < 0 else int(seed)
