"""Episodes as records of a journal, while they are under way and when they end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers.record.episode import Ended
from holdstep.wrappers.record.families import SuccessFilter, is_kept
from holdstep.wrappers.record.formats.hdf5 import LAYOUT_ATTRIBUTES
from holdstep.wrappers.record.records import Bytes, RecordType, Words, success_code, with_json

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import RowLayout
    from holdstep.wrappers.record.files import Buffer
    from holdstep.wrappers.record.finished import FinishedEpisodes
    from holdstep.wrappers.record.growth import Growth
    from holdstep.wrappers.record.index import JournalEpisode
    from holdstep.wrappers.record.journal import Journal


@dataclass(frozen=True)
class UnderWay:
    """An episode that has not ended.

    Attributes:
        row: that it is recorded in.
        num_steps: so far.
    """

    row: int
    num_steps: int


class EpisodeLog:
    """The part of an :class:`~holdstep.wrappers.record.store.EpisodeStore` that takes episodes.

    Arrays may be reused as soon as a call returns.

    Args:
        journal: gets their records.
        finished: is told of those that ended.
        growth: says when no further one may begin.
        layout: of the packed rows.
        success_filter: which episodes are kept.
        ends_are_final: whether an episode counts when it has ended, before a commit.

    Attributes:
        num_steps: that were appended.
        num_bytes: of what was appended [byte].
    """

    def __init__(
        self,
        journal: Journal,
        finished: FinishedEpisodes,
        growth: Growth,
        *,
        layout: RowLayout,
        success_filter: SuccessFilter,
        ends_are_final: bool,
    ) -> None:
        self.num_steps = 0
        self.num_bytes = 0
        self._journal = journal
        self._finished = finished
        self._growth = growth
        self._layout = layout
        self._success_filter = success_filter
        self._ends_are_final = ends_are_final
        self._is_closed = False

    @property
    def under_way(self) -> dict[int, UnderWay]:
        """Episodes that have not ended, by number."""
        episodes = self._journal.index.items()
        return {uid: UnderWay(e.row, e.num_steps) for uid, e in episodes if e.end is None}

    @property
    def full(self) -> bool:
        """Whether the recording has grown by ``max_bytes``, so that no episode may begin."""
        return self._growth.is_over

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
                f"The recording has grown by max_bytes={self._growth.max_bytes}; no further "
                "episode can begin. Raise it, or close the recording."
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
        if self._ends_are_final:
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
