"""Where a recording stands: which episode each row is in, and what was counted so far."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

NO_EPISODE = -1
UNKNOWN = 2
"""Of success: nothing says."""


class Status(IntEnum):
    """What happens to the steps of a row.

    NONE: not recorded: how its episode began was not seen, or the user discarded it.
    OPEN: recorded.
    LOST: not recorded, because something of its episode is missing; counted as dropped.
    """

    NONE = 0
    OPEN = 1
    LOST = 2


_ARRAYS = {
    "status": np.uint8,
    "uid": np.int64,
    "num_steps": np.int64,
    "success": np.uint8,
    "marked": np.uint8,
    "counted": np.bool_,
    "episode_id": np.int64,
    "last_uid": np.int64,
    "last_kept": np.bool_,
}
_COUNTS = ("num_appended", "num_recorded", "num_dropped", "num_discarded", "num_cut")


class RowStates:
    """What a :class:`~holdstep.wrappers.record.split_rows.RowSplitter` knows between two blocks.

    Args:
        num_envs: rows.

    Attributes:
        status: uint8 ``[N]``, see :class:`Status`.
        uid: the store's number of the episode, int64 ``[N]``; -1 for none.
        num_steps: its steps so far, int64 ``[N]``.
        success: what the env said of it, uint8 ``[N]``: 0, 1, or 2 for nothing.
        marked: what the user said, in the same way; it overrides the env.
        counted: whether a lost episode is among the dropped ones already, bool ``[N]``.
        episode_id: number of the row's episode in this run, int64 ``[N]``; -1 before the first.
        last_uid: the store's number of the row's last finished episode, int64 ``[N]``, or -1.
        last_kept: whether that one counts, bool ``[N]``.
        attributes: what the user said of the rows' episodes, by row.
        num_appended: steps of single rows that were stored.
        num_recorded: episodes that count, those of earlier runs included.
        num_dropped: episodes that were lost because the queue was full.
        num_discarded: episodes that the user discarded.
        num_cut: episodes cut short by a reset or the end of the recording.
    """

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.status = np.full(num_envs, Status.NONE, dtype=np.uint8)
        self.uid = np.full(num_envs, NO_EPISODE, dtype=np.int64)
        self.num_steps = np.zeros(num_envs, dtype=np.int64)
        self.success = np.full(num_envs, UNKNOWN, dtype=np.uint8)
        self.marked = np.full(num_envs, UNKNOWN, dtype=np.uint8)
        self.counted = np.zeros(num_envs, dtype=np.bool_)
        self.episode_id = np.full(num_envs, -1, dtype=np.int64)
        self.last_uid = np.full(num_envs, NO_EPISODE, dtype=np.int64)
        self.last_kept = np.zeros(num_envs, dtype=np.bool_)
        self.attributes: dict[int, dict[str, Any]] = {}
        self.num_appended = 0
        self.num_recorded = 0
        self.num_dropped = 0
        self.num_discarded = 0
        self.num_cut = 0

    def enter(self, row: int, uid: int) -> None:
        """A row is in an episode of this number."""
        self.status[row] = Status.OPEN
        self.uid[row] = uid

    def leave(self, row: int, status: Status, *, counted: bool = False) -> None:
        """A row is in no episode that is recorded."""
        self.status[row] = status
        self.uid[row] = NO_EPISODE
        self.num_steps[row] = 0
        self.success[row] = self.marked[row] = UNKNOWN
        self.counted[row] = counted
        self.attributes.pop(row, None)

    def mark(self, row: int, success: bool | None) -> None:
        """The user says whether the row's episode succeeds; None takes that back."""
        self.marked[row] = UNKNOWN if success is None else success

    def known_success(self, row: int) -> bool | None:
        """Whether the row's episode has succeeded, or None where nothing says."""
        said = self.success[row] if self.marked[row] == UNKNOWN else self.marked[row]
        return None if said == UNKNOWN else bool(said)

    def count_lost(self, row: int) -> None:
        """A row takes a step in an episode that can't be recorded."""
        if not self.counted[row]:
            self.counted[row] = True
            self.num_dropped += 1

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        state: dict[str, Any] = {name: getattr(self, name).tolist() for name in _ARRAYS}
        state |= {name: getattr(self, name) for name in _COUNTS}
        state["attributes"] = [[row, values] for row, values in self.attributes.items()]
        return state

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> RowStates:
        """What :meth:`to_json` made."""
        rows = cls(len(state["uid"]))
        for name, dtype in _ARRAYS.items():
            setattr(rows, name, np.array(state[name], dtype=dtype))
        for name in _COUNTS:
            setattr(rows, name, state[name])
        rows.attributes = dict(state["attributes"])
        return rows
