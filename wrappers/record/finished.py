"""What became of the episodes that have ended."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class _Last:
    uid: int
    success: bool | None
    is_kept: bool


class FinishedEpisodes:
    """Counts episodes that ended, and says which may go to a shard.

    The last one of each row is held back until the row has ended another, since it may still be
    discarded.

    Args:
        num_episodes: that were in the recording before.
        num_succeeded: how many of them succeeded.
        first_uid: number of the first episode of this writer.

    Attributes:
        ready: episodes that may go to a shard once they are committed, in order.
        acknowledged: number of this writer's that ended, were committed and not discarded.
        num_episodes: in the whole recording, as far as they are committed.
        num_succeeded: how many of them succeeded.
        num_filtered: number of those that ended and were not kept.
    """

    def __init__(self, *, num_episodes: int, num_succeeded: int, first_uid: int) -> None:
        self.ready: deque[int] = deque()
        self.acknowledged = 0
        self.num_episodes = num_episodes
        self.num_succeeded = num_succeeded
        self.num_filtered = 0
        self._first_uid = first_uid
        self._uncommitted: dict[int, bool | None] = {}
        self._last: dict[int, _Last] = {}  # by row
        self._row_of_last: dict[int, int] = {}  # by number of the episode

    @property
    def uncommitted(self) -> list[int]:
        """Those that ended since the last commit."""
        return list(self._uncommitted)

    def recover(self, uid: int, row: int, success: bool | None) -> None:
        """An episode ended under an earlier writer; later ones of its row come after it."""
        self._hold_back(row, _Last(uid, success, is_kept=True))
        self._count(uid, success, 1)

    def add(self, uid: int, row: int, success: bool | None, *, is_kept: bool) -> None:
        """An episode ended."""
        self._hold_back(row, _Last(uid, success, is_kept))
        if is_kept:
            self._uncommitted[uid] = success
        else:
            self.num_filtered += 1

    def commit(self) -> None:
        """All that ended so far is safe."""
        for uid, success in self._uncommitted.items():
            self._count(uid, success, 1)
        self._uncommitted.clear()

    def may_discard(self, uid: int) -> bool:
        """Whether an episode that ended is the last one of its row."""
        return uid in self._row_of_last

    def discard(self, uid: int) -> bool:
        """The last episode of a row is not to be kept; whether it would have been."""
        last = self._last.pop(self._row_of_last.pop(uid))
        if not last.is_kept:
            self.num_filtered -= 1
        elif uid in self._uncommitted:
            del self._uncommitted[uid]
        else:
            self._count(uid, last.success, -1)
        return last.is_kept

    def release(self) -> None:
        """Nothing will be discarded any more."""
        for row in list(self._last):
            self._release(row)

    def _hold_back(self, row: int, last: _Last) -> None:
        self._release(row)
        self._last[row] = last
        self._row_of_last[last.uid] = row

    def _release(self, row: int) -> None:
        last = self._last.pop(row, None)
        if last is not None:
            del self._row_of_last[last.uid]
            if last.is_kept:
                self.ready.append(last.uid)

    def _count(self, uid: int, success: bool | None, difference: int) -> None:
        self.num_episodes += difference
        self.num_succeeded += difference * (success is True)
        if uid >= self._first_uid:
            self.acknowledged += difference
