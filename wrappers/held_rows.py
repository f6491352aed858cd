"""Who is held, and the copying of row states while some are."""

from __future__ import annotations

import weakref
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.env_ids import EnvIds, canonical_env_ids
from holdstep.envs.state.snapshot import Snapshot
from holdstep.errors import (
    CapabilityError,
    ClosedEnvError,
    InvalidEnvIdsError,
    ResetNeededError,
    SnapshotError,
)
from holdstep.wrappers.base import VectorWrapper
from holdstep.wrappers.masked_stack import check_masked_stack
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdstep.envs.capabilities import FreezeLevel, RngScope
    from holdstep.envs.contract import Obs, TorchVectorEnv


class HeldRows(VectorWrapper):
    """The part of :class:`~holdstep.wrappers.SuspendOnWait` that owns the backend's row control.

    It knows who is held, copies row states, and sees to it that a held row whose state was changed
    on purpose keeps the new one. When and why rows are held is the subclass's.

    Args:
        env: the env to wrap.
        level: how rows are held.
        rng: whose random numbers a row draws.

    Raises:
        CapabilityError: the backend can't do that, or is held by another wrapper.
        WrapperOrderError: a wrapper inside can't step only some rows.

    Attributes:
        num_placements: how often states were put into rows from elsewhere.
    """

    def __init__(self, env: TorchVectorEnv, *, level: FreezeLevel, rng: RngScope) -> None:
        super().__init__(env)
        check_masked_stack(self, env)
        self._active_mask = self.new_buffer(self.num_envs, dtype=torch.bool, fill=True)
        # The same on the host, so that no step has to ask the device: rows, and their suspensions.
        self._suspensions: dict[int, int] = {}
        self._num_suspensions = 0
        self._placements: dict[int, int] = {}
        self.num_placements = 0
        self._ready = False
        self._control = self.unwrapped.row_control(level=level, rng=rng)
        # A wrapper that is thrown away lets go of the backend, for the next one.
        self._let_go = weakref.finalize(self, self._control.close)
        self._let_go.atexit = False

    @property
    def level(self) -> FreezeLevel:
        """How rows are held."""
        return self._control.level

    @property
    def suspended(self) -> torch.Tensor:
        """Rows that are suspended, bool ``[N]``; a copy."""
        return ~self._active_mask

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """Steps since each row's last reset, int64 ``[N]``.

        Setting it holds for suspended rows too; writing into it may reach only the others.
        """
        return self.env.episode_length_buf

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        self.env.episode_length_buf = value
        self._hold_again(sorted(self._suspensions))

    @property
    def suspended_ids(self) -> frozenset[int]:
        """Rows that are suspended, known on the host: asking never waits for a GPU."""
        return frozenset(self._suspensions)

    @property
    def suspensions(self) -> Mapping[int, int]:
        """The suspended rows, each with the number of the call that suspended it; a view.

        Numbers are not used twice: whose number has changed was resumed and suspended again, for
        reasons that are somebody else's.
        """
        return MappingProxyType(self._suspensions)

    @property
    def placements(self) -> Mapping[int, int]:
        """Rows that :meth:`restore` or :meth:`fork` has written over; a view.

        Each with the number of the last such call, of :attr:`num_placements`.
        """
        return MappingProxyType(self._placements)

    def snapshot(self, env_ids: EnvIds | None = None) -> Snapshot:
        """Copy the states of rows, suspended or not.

        Args:
            env_ids: one id, ids, or a bool mask ``[N]``; all rows by default.

        Raises:
            CapabilityError: the backend can't.
            InvalidEnvIdsError: ids that can't be meant.
            ResetNeededError: before the first reset of this wrapper.
            ClosedEnvError: after close.
        """
        self._check_snapshots()
        ids, _ = self._rows(torch.arange(self.num_envs) if env_ids is None else env_ids)
        return self._control.snapshot(ids)

    def set_streams(
        self, env_ids: EnvIds, *, key: torch.Tensor, gamma: torch.Tensor, counter: torch.Tensor
    ) -> None:
        """Give rows other random streams, so that what they draw from now on is known.

        Args:
            env_ids: rows, suspended or not.
            key: int64 ``[k]``, as of a :class:`~holdstep.envs.state.rng.PerEnvRng`.
            gamma: int64 ``[k]``.
            counter: int64 ``[k]``.

        Raises:
            CapabilityError: the rows have no streams of their own (``rng="global"``).
        """
        ids, _ = self._rows(env_ids)
        self._control.set_streams(ids, key=key, gamma=gamma, counter=counter)

    def restore(self, snapshot: Snapshot, env_ids: EnvIds) -> Obs:
        """Put the rows of a snapshot into rows of this env, in their order.

        Suspended rows stay suspended, in the state that was put there, with what they wait for.

        Args:
            snapshot: taken from this env, or from another one of the same task.
            env_ids: as many rows as the snapshot has.

        Returns:
            Observations of all rows, as tensors of the caller's.

        Raises:
            SnapshotError: a snapshot of another task or another number of rows. Nothing was
                changed; nor is it by the other errors.
            CapabilityError: the backend can't.
            InvalidEnvIdsError: ids that can't be meant.
            ResetNeededError: before the first reset of this wrapper.
            ClosedEnvError: after close.
        """
        self._check_snapshots()
        if not isinstance(snapshot, Snapshot):
            raise SnapshotError(
                f"restore() takes what snapshot() returned, got {type(snapshot).__name__}. "
                "Read a file with Snapshot.load(path)."
            )
        ids, rows = self._rows(env_ids)
        obs = self._control.restore(snapshot.to(self.device), ids)
        self._placed(rows)
        return obs

    def fork(self, src_ids: EnvIds, dst_ids: EnvIds) -> Obs:
        """Copy the states of rows over those of other rows, to try several futures of one.

        The random streams of the rows, where they have their own, are part of their states.
        Suspended rows that are written over stay suspended, with what they wait for.

        Args:
            src_ids: the rows to copy: one for all of ``dst_ids``, or as many as those, in which
                case ids may repeat.
            dst_ids: the rows to write over; none of them may be in ``src_ids``.

        Returns:
            Observations of all rows, as tensors of the caller's.

        Raises:
            InvalidEnvIdsError: ids that can't be meant, that overlap, or of different numbers.
                Nothing was changed; nor is it by the other errors.
            CapabilityError: the backend can't.
            ResetNeededError: before the first reset of this wrapper.
            ClosedEnvError: after close.
        """
        self._check_snapshots()
        dst, dst_rows = self._rows(dst_ids)
        src = self._source_ids(src_ids)
        if src.numel() == 1:
            src = src.repeat(dst.numel())
        if src.numel() != dst.numel():
            raise InvalidEnvIdsError(
                f"fork() got {src.numel()} src_ids for {dst.numel()} dst_ids. Give one src_id, or "
                "one for each of the dst_ids."
            )
        both = sorted(set(src.tolist()) & set(dst_rows))
        if both:
            raise InvalidEnvIdsError(
                f"fork() can't both read and write over rows {shortened(both)}: they are in "
                "src_ids and in dst_ids."
            )
        obs = self._control.fork(src, dst)
        self._placed(dst_rows)
        return obs

    def close_extras(self, **kwargs: Any) -> None:
        """Let go of all rows, and leave the backend as it was before this wrapper."""
        self._suspensions.clear()
        self._active_mask.fill_(True)
        self._let_go()

    def _hold(self, rows: list[int]) -> None:
        ids = self._ids(rows)
        self._control.hold(ids)
        self._num_suspensions += 1
        self._suspensions.update(dict.fromkeys(rows, self._num_suspensions))
        self._active_mask[ids] = False

    def _release(self, rows: list[int]) -> None:
        ids = self._ids(rows)
        self._control.release(ids)
        for row in rows:
            self._suspensions.pop(row, None)
        self._active_mask[ids] = True

    def _placed(self, rows: list[int]) -> None:
        self.num_placements += 1
        self._placements.update(dict.fromkeys(rows, self.num_placements))
        self._hold_again(rows)

    def _hold_again(self, rows: Iterable[int]) -> None:
        held = [row for row in rows if row in self._suspensions]
        if held:
            self._control.hold(self._ids(held))

    def _rows(self, env_ids: EnvIds) -> tuple[torch.Tensor, list[int]]:
        """Ids as a tensor and on the host; refused where no rows can be meant."""
        self._check_usable()
        ids = self._canonical(env_ids)
        return ids, ids.tolist()

    def _source_ids(self, env_ids: EnvIds) -> torch.Tensor:
        """Ids that may repeat."""
        try:
            ids = torch.as_tensor(env_ids)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            return self._canonical(env_ids)  # says what is wrong with it
        if ids.ndim != 1 or ids.dtype == torch.bool:
            return self._canonical(env_ids)
        self._canonical(sorted(set(ids.tolist())))  # refuses all else that is wrong
        return ids.to(device=self.device, dtype=torch.int64)

    def _canonical(self, env_ids: EnvIds) -> torch.Tensor:
        return canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)

    def _ids(self, rows: list[int]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.int64, device=self.device)

    def _check_usable(self) -> None:
        if self._closed or self.closed:
            raise ClosedEnvError("The env is closed. Make a new one.")
        if not self._ready:
            raise ResetNeededError(
                f"There are no rows yet: call reset() of {type(self).__name__} first."
            )

    def _check_snapshots(self) -> None:
        if not self.capabilities.snapshot:
            raise CapabilityError(
                f"{type(self.unwrapped).__name__} can't copy the states of rows: its "
                "capabilities.snapshot is False."
            )
