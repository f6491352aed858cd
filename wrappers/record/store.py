"""Episodes on disk: acknowledged from a journal, kept in HDF5 files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from holdstep.errors import ConfigError
from holdstep.wrappers.record.episode_log import EpisodeLog, UnderWay
from holdstep.wrappers.record.families import SuccessFilter, check_success_filter
from holdstep.wrappers.record.files import Files, recording_errors
from holdstep.wrappers.record.folder import RecordingFolder
from holdstep.wrappers.record.formats.hdf5 import check_compression
from holdstep.wrappers.record.growth import Growth
from holdstep.wrappers.record.parts import make_parts
from holdstep.wrappers.record.records import RecordType

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.columns import RowLayout

__all__ = ["Durability", "EpisodeStore", "UnderWay"]

Durability = Literal["memory", "os", "disk"]
"""When an episode is acknowledged: when it ended; when the system has it, so that it survives the
death of this process; or when it is on disk, so that it survives a loss of power."""


class EpisodeStore(EpisodeLog):
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
        growth: against ``max_bytes``.
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
        self.growth = Growth(parts.compactor, max_bytes)
        super().__init__(
            parts.journal,
            parts.finished,
            self.growth,
            layout=layout,
            success_filter=success_filter,
            ends_are_final=durability == "memory",
        )
        self.recovery = parts.recovery
        self._durability = durability
        self._lock = parts.lock
        self._compactor = parts.compactor

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
