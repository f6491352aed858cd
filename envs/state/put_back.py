"""Rows held still by stepping everybody and putting the held ones back."""

from __future__ import annotations

import contextlib
import functools
from abc import abstractmethod
from typing import TYPE_CHECKING, cast

import torch

from holdstep.envs.masked_step import without_held_rows
from holdstep.envs.state.discovery import FoundTensor, unknown_tensors
from holdstep.envs.state.row_control import RowControl
from holdstep.envs.state.row_store import RowStore
from holdstep.envs.state.slot import Slot
from holdstep.envs.state.snapshot import NOT_MADE_YET, Snapshot, check_fits, describe
from holdstep.errors import CapabilityError, SuspensionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdstep.envs.capabilities import FreezeLevel, RngScope
    from holdstep.envs.contract import Obs, StepResult, TorchVectorEnv
    from holdstep.envs.last_obs import LastObs
    from holdstep.envs.state.registry import StateRegistry


class PutBackControl(RowControl):
    """Freeze level "exact": no simulator can step some of its worlds only, so all are stepped.

    A held row's action is replaced by zeros, it is kept from ending, and when the step is over
    everything that the registry knows of it is written back, observations included. While no row is
    held the backend runs as if this object did not exist.

    Subclasses know the backend: :meth:`_make_registry`, :meth:`_advance`, :meth:`_hook` and
    :meth:`_drop_caches`.

    Args:
        env: the adapter.
        last_obs: its last observations.
        rng: whose random numbers a row draws.
    """

    level: FreezeLevel = "exact"

    def __init__(self, env: TorchVectorEnv, last_obs: LastObs, *, rng: RngScope) -> None:
        self.rng = rng
        self.env = env
        self._last_obs = last_obs
        self._registry: StateRegistry | None = None
        self._store: RowStore | None = None
        self._current_obs: Obs = {}
        with torch.inference_mode(False):
            self._held_mask = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        self._num_held = 0
        self._idle: torch.Tensor | None = None

    @property
    def registry(self) -> StateRegistry:
        """The table of the env's row state, made when it is first needed, after a reset."""
        if self._registry is None:
            self._registry = self._make_registry()
        return self._registry

    @property
    def holds_any(self) -> bool:
        """Whether any row is held."""
        return self._num_held > 0

    def hold(self, env_ids: torch.Tensor) -> None:
        """Copy the rows as they are now."""
        if env_ids.numel() == 0:
            return
        self._before_copying(env_ids)
        self._current_obs = self._last_obs.buffers
        with torch.inference_mode(False), torch.no_grad():
            self._row_store().hold(env_ids)
            self._held_mask[env_ids] = True
        self._count_held()

    def release(self, env_ids: torch.Tensor) -> None:
        """Forget the copies; the rows are as they were when they were held."""
        if env_ids.numel() == 0:
            return
        with torch.inference_mode(False), torch.no_grad():
            self._row_store().release(env_ids)
            self._held_mask[env_ids] = False
        self._count_held()

    def step(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """Step everybody, and put the held rows back."""
        if self._num_held == 0:
            return self.env.step(actions)
        if self._idle is None:
            with torch.inference_mode(False):
                self._idle = torch.zeros(self.env.action_space.shape or (), device=self.env.device)
        # NumPy arrays stay arrays: the adapter's action guard is what turns them into tensors.
        given = cast("torch.Tensor", without_held_rows(actions, active_mask, self._idle))
        return self._advance(given, active_mask)

    def tables_changed(self) -> None:
        """Make the tables anew before they are used again.

        Raises:
            SuspensionError: rows are held.
        """
        if self._num_held:
            raise SuspensionError("Register row state while no row is suspended.")
        self._registry = self._store = None

    def put_back(self, obs: Obs) -> None:
        """Write the held rows back, also their rows in the observations of this step.

        Args:
            obs: of this step, tensors ``[N, ...]`` by group; changed in place.
        """
        assert self._store is not None
        self._current_obs = obs
        self._store.put_back()
        self._drop_caches()

    def show_held_rows_as_they_are(self, final_obs: Obs) -> None:
        """Give held rows their last observations in the final ones too; changed in place."""
        for name, obs in final_obs.items():
            mask = self._held_mask.reshape(-1, *[1] * (obs.ndim - 1))
            torch.where(mask, self._last_obs.last(name), obs, out=obs)

    @contextlib.contextmanager
    def others_untouched(self, env_ids: torch.Tensor) -> Iterator[None]:
        """Whatever happens inside happens to rows ``env_ids`` only; held ones take it on.

        Simulators reset some rows with side effects on all: noise is drawn, metrics are added up.
        """
        others = torch.ones_like(self._held_mask)
        others[env_ids] = False
        others &= ~self._held_mask
        other_ids = others.nonzero().squeeze(-1)
        held_ids = env_ids[self._held_mask[env_ids]]
        self.release(held_ids)
        self.hold(other_ids)
        try:
            yield
        finally:
            if self._num_held:
                self.put_back(self._last_obs.buffers)
            self.release(other_ids)
            self.hold(held_ids)

    def unknown_state(self) -> list[str]:
        """Per-env tensors of the backend's objects that the registry does not know, by path.

        What is listed is neither put back nor in snapshots. If it is state, register it.
        """
        found = unknown_tensors(
            self.env.backend_env,
            [tensor for _, tensor in self.registry.tensors()],
            num_envs=self.env.num_envs,
            is_constant=self._is_stateless_tensor,
            skip=self._is_stateless,
        )
        return [str(tensor) for tensor in found]

    def snapshot(self, env_ids: torch.Tensor) -> Snapshot:
        """Everything that the registry knows of the rows."""
        self._before_copying(env_ids)
        with torch.inference_mode(False), torch.no_grad():
            obs = self._last_obs.rows(env_ids)  # first: drawing an image writes to its sensor
            return Snapshot(
                rows=self.registry.gather(env_ids),
                obs=obs,
                fingerprint=self._fingerprint(),
            )

    def restore(self, snapshot: Snapshot, env_ids: torch.Tensor) -> Obs:
        """Write a snapshot's rows over rows."""
        self._before_copying(env_ids)
        check_fits(snapshot, self._fingerprint(), env_ids.numel())
        return self._write(snapshot.to(self.env.device), env_ids)

    def fork(self, src_ids: torch.Tensor, dst_ids: torch.Tensor) -> Obs:
        """Copy rows over rows, on the device."""
        return self._write(self.snapshot(src_ids), dst_ids)

    def set_streams(
        self,
        env_ids: torch.Tensor,
        *,
        key: torch.Tensor,
        gamma: torch.Tensor,
        counter: torch.Tensor,
    ) -> None:
        """Give rows other random streams; nothing else of them is read or written."""
        if self.rng != "per_env":
            raise CapabilityError(
                "The rows have one random stream together; SuspendOnWait(env, rng='per_env') gives "
                "each its own."
            )
        streams = {"random.key": key, "random.gamma": gamma, "random.counter": counter}
        self._before_copying(env_ids)
        with torch.inference_mode(False), torch.no_grad():
            self.registry.scatter(streams, env_ids)
        self.hold(env_ids[self._held_mask[env_ids]])

    def _write(self, snapshot: Snapshot, env_ids: torch.Tensor) -> Obs:
        with torch.inference_mode(False), torch.no_grad():
            self.registry.scatter(snapshot.rows, env_ids)
            self._last_obs.write(env_ids, snapshot.obs)
            self._restored(snapshot, env_ids)
        self.hold(env_ids[self._held_mask[env_ids]])
        return self._last_obs.copy()

    def close(self) -> None:
        """Unhook and forget everything."""
        self._unhook()
        self._store = self._registry = None
        self._current_obs = {}
        self._held_mask.zero_()
        self._num_held = 0

    @abstractmethod
    def _make_registry(self) -> StateRegistry:
        """The table of the backend's row state."""

    @abstractmethod
    def _advance(self, actions: torch.Tensor, active_mask: torch.Tensor) -> StepResult:
        """The adapter's step with some rows held; must call :meth:`put_back`."""

    @abstractmethod
    def _hook(self) -> None:
        """Hook the backend, so that held rows neither end nor are recorded."""

    @abstractmethod
    def _unhook(self) -> None:
        """Take off what :meth:`_hook` put on, if anything: no row is held any more."""

    def _before_copying(self, env_ids: torch.Tensor) -> None:
        """Bring up to date, between two steps, what copies of rows ``env_ids`` are made of."""

    def _restored(self, snapshot: Snapshot, env_ids: torch.Tensor) -> None:
        """A snapshot's rows have just been written over rows ``env_ids``."""
        self._drop_caches()

    def _held_rows_changed(self) -> None:
        """Other rows than before are held, and at least one is."""

    @abstractmethod
    def _drop_caches(self) -> None:
        """Invalidate what the backend has derived from rows that were just written."""

    @abstractmethod
    def _is_stateless_tensor(self, found: FoundTensor) -> bool:
        """Whether a tensor is known to hold no row state, whatever it looks like."""

    def _is_stateless(self, owner: object) -> bool:
        """Whether an object is not to be searched for row state."""
        return type(owner).__module__.startswith(
            ("holdstep", "warp", "gymnasium", "numpy", "mujoco.")
        )

    def _fingerprint(self) -> dict[str, str]:
        env = self.env
        task = f"step_dt={env.step_dt:.6g}, actions={env.single_action_space.shape}"
        observed = {f"observation {n}": describe(obs) for n, obs in self._last_obs.examples.items()}
        task_id = env.task_id or NOT_MADE_YET  # unknown: it may be any
        return {"task": task, "task id": task_id} | self.registry.fingerprint() | observed

    def _row_store(self) -> RowStore:
        if self._store is None:
            slots = [*self._moving_slots(), *self._obs_slots()]
            self._store = RowStore(slots, num_envs=self.env.num_envs, device=self.env.device)
        return self._store

    def _moving_slots(self) -> list[Slot]:
        return self.registry.moving()

    def _obs_slots(self) -> Iterator[Slot]:
        """Observations: copied from the last ones, written into those of a step."""
        for name in self._last_obs.buffers:
            yield Slot(f"observation {name}", functools.partial(self._current_obs_of, name))

    def _current_obs_of(self, name: str) -> torch.Tensor | None:
        return self._current_obs.get(name)

    def _count_held(self) -> None:
        # Waits for a GPU, as suspending and resuming may.
        num_held = int(self._held_mask.sum())
        if num_held and not self._num_held:
            self._hook()
        elif self._num_held and not num_held:
            self._unhook()
        self._num_held = num_held
        if num_held:
            self._held_rows_changed()
