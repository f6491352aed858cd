"""Episodes on disk: acknowledged from a journal, kept in HDF5 files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers.record.episode import Ended
from holdstep.wrappers.record.families import SuccessFilter, check_success_filter, is_kept
from holdstep.wrappers.record.files import Buffer, Files, recording_errors
from holdstep.wrappers.record.folder import RecordingFolder
from holdstep.wrappers.record.formats.hdf5 import LAYOUT_ATTRIBUTES, check_compression
from holdstep.wrappers.record.parts import make_parts
from holdstep.wrappers.record.records import Bytes, RecordType, Words, success_code, with_json

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.columns import RowLayout
    from holdstep.wrappers.record.index import JournalEpisode

Durability = Literal["memory", "os", "disk"]
"""When an episode is acknowledged: when it ended; when the system has it, so that it survives the
death of this process; or when it is on disk, so that it survives a loss of power."""


@dataclass(frozen=True)
class UnderWay:
    """An episode that has not ended.

    Attributes:
        row: that it is recorded in.
        num_steps: so far.
    """

    row: int
    num_steps: int


class EpisodeStore:
    """Writes episodes to a folder, or to one HDF5 file, and says which of them are safe.

    Fragments go to an append-only journal as they come, so memory does not grow with the length of
    an episode. :meth:`commit` lets everything so far count, at a stated durability; what was not
    committed when the writer died is cut off when the folder is opened again. :meth:`compact` moves
    episodes that have ended into HDF5 files, each of which is whole and durable before it gets its
    name, and before the journal lets go of its episodes.

    A folder that exists is gone on with, never truncated; so is a file: its episodes are kept, and
    the numbers of the new ones follow. While it is recorded to, ``demos.hdf5.parts`` lies beside
    ``demos.hdf5``.

    One writer at a time, in one thread. Arrays may be reused as soon as a call returns.

    Args:
        path: a folder, or a file ``*.hdf5`` or ``*.h5``.
        layout: of the packed rows.
        attributes: of the recording, as plain values. ``env_args`` is what the HDF5 files say about
            the env.
        durability: when an episode is acknowledged.
        segment_bytes: size of the parts that the journal is deleted in [byte].
        shard_bytes: about the size of the HDF5 files of a folder [byte].
        compression: of their arrays: ``"none"``, ``"lz4"``, ``"zstd"`` or ``"gzip"``.
        success_filter: which episodes are kept; ``"split"`` keeps those that succeeded apart from
            the others.
        max_bytes: no episode begins once the recording has grown by this much; None for no bound.
        adopt: go on with the episodes that a writer which died had under way; else they are
            dropped.
        salvage: go on even where acknowledged episodes are damaged: with those that are not.
        files: what changes the disk, for tests.

    Attributes:
        num_steps: that were appended.
        num_bytes: of what was appended [byte].
        recovery: what an earlier writer had left behind.

    Raises:
        ConfigError: an argument can't be used, or the folder holds a recording of something else.
        RecordingError: it is in use, is no recording's, is damaged, or can't be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        layout: RowLayout,
        attributes: Mapping[str, Any],
        durability: Durability = "disk",
        segment_bytes: int = 64 << 20,
        shard_bytes: int = 1 << 30,
        compression: str = "none",
        success_filter: SuccessFilter = "all",
        max_bytes: int | None = None,
        adopt: bool = False,
        salvage: bool = False,
        files: Files | None = None,
    ) -> None:
        if durability not in get_args(Durability):
            raise ConfigError(
                f"durability must be one of {', '.join(get_args(Durability))}; got {durability!r}."
            )
        check_success_filter(success_filter)
        check_compression(compression)
        self.num_steps = 0
        self.num_bytes = 0
        self._layout = layout
        self._durability = durability
        self._success_filter = success_filter
        self._max_bytes = max_bytes
        self._is_full = False
        self._is_closed = False
        folder = RecordingFolder.of(path)
        with recording_errors(f"open the recording {folder.path}"):
            parts = make_parts(
                folder,
                layout=layout,
                attributes=attributes,
                success_filter=success_filter,
                sync=durability == "disk",
                segment_bytes=segment_bytes,
                shard_bytes=shard_bytes,
                compression=compression,
                adopt=adopt,
                salvage=salvage,
                files=files or Files(),
            )
        self.recovery = parts.recovery
        self._lock = parts.lock
        self._journal = parts.journal
        self._finished = parts.finished
        self._compactor = parts.compactor
        self._num_bytes_before = parts.compactor.num_bytes

    @property
    def acknowledged(self) -> int:
        """Episodes of this writer that are safe as ``durability`` says, and not discarded."""
        return self._finished.acknowledged

    @property
    def durable(self) -> int:
        """Episodes of this writer that survive a loss of power."""
        return self.acknowledged if self._durability == "disk" else self._compactor.num_moved

    @property
    def num_durable(self) -> int:
        """Episodes in the whole recording that survive a loss of power."""
        return self.num_episodes if self._durability == "disk" else self._compactor.num_in_shards

    @property
    def num_episodes(self) -> int:
        """Episodes in the whole recording: those of earlier writers, and the acknowledged ones."""
        return self._finished.num_episodes

    @property
    def num_succeeded(self) -> int:
        """How many of them succeeded."""
        return self._finished.num_succeeded

    @property
    def num_filtered(self) -> int:
        """Episodes that ended and were not kept, because of ``success_filter``."""
        return self._finished.num_filtered

    @property
    def position(self) -> int:
        """Of the last commit, whichever writer's; -1 if there was none."""
        return self._journal.position

    @property
    def under_way(self) -> dict[int, UnderWay]:
        """Episodes that have not ended, by number."""
        episodes = self._journal.index.items()
        return {uid: UnderWay(e.row, e.num_steps) for uid, e in episodes if e.end is None}

    @property
    def full(self) -> bool:
        """Whether the recording has grown by ``max_bytes``, so that no episode may begin.

        That does not change any more when a shard turns out smaller than its part of the journal.
        """
        if self._max_bytes is not None and not self._is_full:
            grown = self._compactor.num_bytes - self._num_bytes_before
            self._is_full = grown >= self._max_bytes
        return self._is_full

    def begin(self, row: int, words: Words, bytes_: Bytes, attributes: Mapping[str, Any]) -> int:
        """An episode begins.

        Args:
            row: that it is recorded in.
            words: int32 ``[num_words]``; what is observed before the first step. The parts of step
                columns are not looked at.
            bytes_: uint8 ``[num_bytes]``, likewise.
            attributes: of the episode, as plain values.

        Returns:
            Its number. No other episode of this recording ever has it.

        Raises:
            RecordingError: it could not be written, or the recording is :attr:`full`.
            ConfigError: an argument can't be used.
        """
        if self.full:
            raise RecordingError(
                f"The recording has grown by max_bytes={self._max_bytes}; no further episode can "
                "begin. Raise it, or close the recording."
            )
        uid = self._journal.next_uid
        parts = with_json(self._checked(attributes), *self._packed(words, bytes_))
        self._append(RecordType.BEGIN, uid, parts, first=row)
        return uid

    def append(self, uid: int, words: Words, bytes_: Bytes) -> None:
        """Consecutive steps of an episode.

        Args:
            uid: its number.
            words: int32 ``[T, num_words]``, of any strides.
            bytes_: uint8 ``[T, num_bytes]``, of any strides.

        Raises:
            RecordingError: they could not be written, or it is not under way.
            ConfigError: an argument can't be used.
        """
        first = self._under_way(uid).num_steps
        count = len(words)
        if count:
            parts = self._packed(words, bytes_, count)
            self._append(RecordType.STEPS, uid, parts, first=first, count=count)
            self.num_steps += count
            self.num_bytes += count * self._layout.row_bytes

    def end(
        self,
        uid: int,
        *,
        ended: Ended,
        success: bool | None,
        attributes: Mapping[str, Any],
        final: tuple[Words, Bytes] | None,
    ) -> None:
        """An episode ended; it is acknowledged by the next commit.

        One without a step, or that ``success_filter`` does not let pass, is not kept.

        Args:
            uid: its number.
            ended: how. In an episode that was cut (``"reset"``, ``"closed"``) the observation of
                the last step is its final one.
            success: whether it succeeded, or None if nothing says.
            attributes: further ones, as plain values.
            final: its final observation as in :meth:`begin`, or None if it is not known.

        Raises:
            RecordingError: it could not be written, or it is not under way.
            ConfigError: an argument can't be used.
        """
        if ended not in get_args(Ended):
            raise ConfigError(f"ended must be one of {get_args(Ended)}; got {ended!r}.")
        episode = self._under_way(uid)
        row, num_steps = episode.row, episode.num_steps
        if not num_steps:
            self.discard(uid)
            return
        content = {"ended": ended, "success": success, "attributes": self._checked(attributes)}
        planes = [] if final is None else self._packed(*final)
        kept = is_kept(success, self._success_filter)
        if kept:
            parts = with_json(content, *planes)
            code = success_code(success)
            self._append(RecordType.END, uid, parts, first=num_steps, count=code)
        else:
            self._append(RecordType.DISCARD, uid, [])
        self._finished.add(uid, row, success, is_kept=kept)
        if self._durability == "memory":
            self._finished.commit()

    def discard(self, uid: int) -> None:
        """An episode is not to be kept: one that is under way, or the last of its row that ended.

        After the next commit it is gone for good.

        Raises:
            RecordingError: it can't be discarded any more, or is not known.
        """
        self._check_open()
        episode = self._journal.index.get(uid)
        if episode is not None and episode.end is None:
            self._append(RecordType.DISCARD, uid, [])
        elif not self._finished.may_discard(uid):
            raise RecordingError(
                f"Episode {uid} can't be discarded: only those that are under way, and the last "
                "one of each row that ended. What is in a dataset can be left out by `holdstep "
                "dataset merge`."
            )
        elif self._finished.discard(uid):
            self._append(RecordType.DISCARD, uid, [])

    def commit(self, *, position: int | None = None) -> None:
        """Let everything so far count, and acknowledge the episodes that ended.

        Args:
            position: handed to the writer that takes over after a crash, as :attr:`position`; for
                example the number of the last block of steps. None leaves it as it is.

        Raises:
            RecordingError: it failed; nothing more was acknowledged.
        """
        self._check_open()
        self._commit(self.position if position is None else position)

    def compact(self, *, budget_s: float | None = None) -> bool:
        """Move episodes from the journal into HDF5 files, one after the other.

        Call it when everything is committed; else it does nothing.

        Args:
            budget_s: no further one is begun after this time [s]; None for no bound.

        Returns:
            Whether there are more that can be moved.

        Raises:
            RecordingError: it failed. No episode is lost by that; it may be tried again.
        """
        self._check_open()
        if not self._journal.is_committed:
            return bool(self._finished.ready)
        end_s = None if budget_s is None else time.monotonic() + budget_s
        return self._compactor.run(self._finished.ready, end_s=end_s)

    def close(self, *, compact: bool = True) -> None:
        """Commit, move everything that ended into HDF5 files, and let go of the folder.

        May be called again. After an error that the journal's end was lost by, it only lets go.

        Args:
            compact: False leaves the episodes in the journal, from which the next writer, or a
                repair, moves them; those that are under way can then be gone on with.

        Raises:
            RecordingError: it failed; what was acknowledged is safe in the folder.
        """
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.ExitStack() as at_the_end:
            at_the_end.callback(self._lock.release)
            at_the_end.callback(self._journal.close)
            at_the_end.callback(self._compactor.drop)
            if self._journal.has_failed:
                return
            if compact:
                for uid in self.under_way:
                    self._journal.append(RecordType.DISCARD, uid, [])
            self._commit(self.position)
            if compact:
                self._finished.release()
                self._compactor.run(self._finished.ready)
                self._compactor.finish()

    def abandon(self) -> None:
        """Let go of the folder without a commit, as the death of this process would.

        What came after the last commit is cut when the recording is opened again. May be called
        again, and after :meth:`close`.
        """
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.ExitStack() as at_the_end:
            at_the_end.callback(self._lock.release)
            at_the_end.callback(self._journal.close)
            at_the_end.callback(self._compactor.drop)

    def _commit(self, position: int) -> None:
        with recording_errors("commit"):
            self._lock.check()
        ended = [self._journal.index[uid] for uid in self._finished.uncommitted]
        self._journal.commit(position, ended)
        self._finished.commit()

    def _append(
        self, kind: RecordType, uid: int, parts: list[Buffer], *, first: int = 0, count: int = 0
    ) -> None:
        self._check_open()
        self._journal.append(kind, uid, parts, first=first, count=count)

    def _under_way(self, uid: int) -> JournalEpisode:
        self._check_open()
        episode = self._journal.index.get(uid)
        if episode is None or episode.end is not None:
            state = "is not known" if episode is None else "has ended"
            raise RecordingError(f"Episode {uid} {state}; only one that is under way can go on.")
        return episode

    def _packed(self, words: Words, bytes_: Bytes, *shape: int) -> list[Buffer]:
        """The planes of rows as the parts of a record; copied only if they are not contiguous."""
        for plane, dtype, width in (
            (words, np.int32, self._layout.num_words),
            (bytes_, np.uint8, self._layout.num_bytes),
        ):
            if plane.dtype != dtype or plane.shape != (*shape, width):
                raise ConfigError(
                    f"Packed rows must be {np.dtype(dtype)} {(*shape, width)}; got {plane.dtype} "
                    f"{plane.shape}."
                )
        return [np.ascontiguousarray(words), np.ascontiguousarray(bytes_)]

    def _checked(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        reserved = attributes.keys() & (LAYOUT_ATTRIBUTES | {"uid"})
        if reserved:
            raise ConfigError(
                f"Attributes can't be named {sorted(reserved)}: these are the file's."
            )
        return dict(attributes)

    def _check_open(self) -> None:
        if self._is_closed:
            raise RecordingError("The recording is closed; open it again to go on.")
