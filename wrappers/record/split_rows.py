"""Blocks of all rows' steps into the episodes of single rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from holdstep.wrappers.record.ring import (
    ACTIVE,
    REPORTED,
    SUCCESS,
    TERMINATED,
    TRUNCATED,
    EntryKind,
)
from holdstep.wrappers.record.row_episodes import RowEpisodes
from holdstep.wrappers.record.row_states import NO_EPISODE, UNKNOWN, RowStates, Status

if TYPE_CHECKING:
    from holdstep.wrappers.record.block_reader import BlockReader
    from holdstep.wrappers.record.messages import Event
    from holdstep.wrappers.record.quota import Quota
    from holdstep.wrappers.record.ring import Observed
    from holdstep.wrappers.record.splitting import Store


class RowSplitter:
    """Hands the steps of each row to a store, as episodes.

    Rows that were not active in a step have none there. What is kept from one block to the next is
    :attr:`rows`: no values.

    Args:
        store: gets the episodes.
        quota: what is to be recorded.
        rows: where the recording stands.
    """

    def __init__(self, store: Store, quota: Quota, rows: RowStates) -> None:
        self._store = store
        self._quota = quota
        self.rows = rows
        self._episodes = RowEpisodes(store, quota, rows)
        self._seed: int | None = None  # of the FIRST that comes next in the block

    def split(self, block: BlockReader, events: Sequence[Event]) -> None:
        """Take what is in a block.

        Args:
            block: of which nothing is kept.
            events: what was said between its entries, in order.
        """
        self._block, self._flags = block, block.flags
        self._steps = (block.flags[:, ACTIVE] != 0) & block.is_step[:, np.newaxis]
        self._begins = np.zeros(self.rows.num_envs, dtype=np.int64)  # of what is not appended yet
        waiting = iter(events)
        event = next(waiting, None)
        for number, entry in enumerate(block.entries):
            while event is not None and event.entry <= number:
                self._apply(event, entry.slot)
                event = next(waiting, None)
            self._episodes.finish_ended()
            if entry.kind == EntryKind.STEP:
                self._end_in(entry.slot, entry.observed)
            elif entry.kind == EntryKind.FIRST:
                self._cut_and_begin(entry.slot, entry.observed)
            else:
                self._lose(entry.slot)
        while event is not None:
            self._apply(event, len(self._flags))
            event = next(waiting, None)
        self._episodes.finish_ended()
        for row in range(self.rows.num_envs):
            self._append(row, len(self._flags))

    def close(self) -> None:
        """The recording is over: cut what is under way."""
        for row in range(self.rows.num_envs):
            self._episodes.cut(row, "closed")

    @property
    def finished(self) -> bool:
        """Whether nothing more will be recorded."""
        return self._episodes.finished

    def _append(self, row: int, end: int) -> None:
        """Store the steps of a row in the slots before ``end`` that are not stored yet."""
        begin = int(self._begins[row])
        self._begins[row] = end
        taken = self._steps[begin:end, row]
        num_steps = int(np.count_nonzero(taken))
        if num_steps == 0:
            return
        rows = self.rows
        if rows.status[row] != Status.OPEN:
            if rows.status[row] == Status.LOST:
                rows.count_lost(row)
            return
        slots: slice | npt.NDArray[np.int64] = slice(begin, end)
        if num_steps != end - begin:
            slots = begin + np.flatnonzero(taken)
        self._store.append(int(rows.uid[row]), *self._block.steps(slots, row))
        rows.num_steps[row] += num_steps
        rows.num_appended += num_steps
        reported = self._flags[slots, REPORTED, row]
        self._note_success(row, np.where(reported, self._flags[slots, SUCCESS, row], UNKNOWN))

    def _note_success(self, row: int, said: npt.NDArray[Any]) -> None:
        if self._quota.success_when == "end":
            self.rows.success[row] = said[-1]
            return
        said = said[said != UNKNOWN]
        if said.size:
            before = self.rows.success[row]
            self.rows.success[row] = max(said.max(), 0 if before == UNKNOWN else before)

    def _end_in(self, slot: int, observed: Observed) -> None:
        flags = self._flags[slot]
        done = self._steps[slot] & ((flags[TERMINATED] != 0) | (flags[TRUNCATED] != 0))
        ended = np.flatnonzero(done).tolist()
        if not ended:
            return
        finals = {env_id: index for index, env_id in enumerate(observed.env_ids)}
        for row in ended:
            self._append(row, slot + 1)
            index = finals.get(row)
            self._episodes.end(
                row,
                "terminated" if flags[TERMINATED, row] else "truncated",
                None if index is None else self._block.observed_row(observed, index),
            )
            self._episodes.begin(row, self._block.observation(slot, row))

    def _cut_and_begin(self, slot: int, observed: Observed) -> None:
        """Rows were reset before a slot."""
        for index, row in enumerate(observed.env_ids):
            if row >= 0:
                self._append(row, slot)
                self._episodes.cut(row, "reset")
                self._episodes.begin(row, self._block.observed_row(observed, index), self._seed)
        self._seed = None

    def _lose(self, slot: int) -> None:
        """Count what happened while there was no room, and drop what it tore apart."""
        flags = self._flags[slot]
        num_ended = np.ascontiguousarray(flags[TERMINATED:].T).view("<i4")[:, 0]
        stepped = flags[ACTIVE] != 0
        for row in np.flatnonzero(stepped | (num_ended > 0)).tolist():
            self._append(row, slot)
            self.rows.last_uid[row] = NO_EPISODE if num_ended[row] else self.rows.last_uid[row]
            self._episodes.lose(row, int(num_ended[row]), stepped=bool(stepped[row]))

    def _apply(self, event: Event, slot: int) -> None:
        if event.do == "seed":
            self._seed = event.values["seed"]
            return
        if event.do == "hole":
            self._tear(slot)
            return
        for row in event.rows:
            if event.do == "discard":
                self._append(row, slot)
            self._episodes.remark(row, event)

    def _tear(self, slot: int) -> None:
        """A step is missing: no episode that is under way can be kept."""
        self._episodes.finish_ended()
        for row in range(self.rows.num_envs):
            self._append(row, slot)
            if self.rows.status[row] == Status.OPEN:
                self._episodes.lose(row, 0, stepped=True)
