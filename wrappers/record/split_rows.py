"""Blocks of all rows' steps into the episodes of single rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from holdstep.wrappers.record.episode import Ended
from holdstep.wrappers.record.records import Bytes, Words
from holdstep.wrappers.record.ring import (
    ACTIVE,
    REPORTED,
    SUCCESS,
    TERMINATED,
    TRUNCATED,
    EntryKind,
)
from holdstep.wrappers.record.row_states import NO_EPISODE, UNKNOWN, RowStates, Status

if TYPE_CHECKING:
    from holdstep.wrappers.record.block_reader import BlockReader
    from holdstep.wrappers.record.messages import Event
    from holdstep.wrappers.record.quota import Quota
    from holdstep.wrappers.record.ring import Observed
    from holdstep.wrappers.record.splitting import Store


@dataclass
class _Ended:
    """An episode that ended in the last step; until the next, the user may still speak of it."""

    row: int
    uid: int
    ended: Ended
    success: bool | None
    attributes: dict[str, Any]
    final: tuple[Words, Bytes] | None


class RowSplitter:
    """Hands the steps of each row to a store, as episodes.

    Rows that were not active in a step have none there. An episode without a step is never stored.
    What is kept from one block to the next is :attr:`rows`: no values.

    Args:
        store: gets the episodes.
        quota: what is to be recorded.
        rows: where the recording stands.
    """

    def __init__(self, store: Store, quota: Quota, rows: RowStates) -> None:
        self._store = store
        self._quota = quota
        self.rows = rows
        # Rows whose episode ended in the last step, with None for one that was not recorded. Empty
        # between blocks.
        self._ended: dict[int, _Ended | None] = {}
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
            self._finish_ended()
            if entry.kind == EntryKind.STEP:
                self._end_in(entry.slot, entry.observed)
            elif entry.kind == EntryKind.FIRST:
                self._cut_and_begin(entry.slot, entry.observed)
            else:
                self._lose(entry.slot)
        while event is not None:
            self._apply(event, len(self._flags))
            event = next(waiting, None)
        self._finish_ended()
        for row in range(self.rows.num_envs):
            self._append(row, len(self._flags))

    def close(self) -> None:
        """The recording is over: cut what is under way."""
        for row in range(self.rows.num_envs):
            self._cut(row, "closed")

    @property
    def finished(self) -> bool:
        """Whether nothing more will be recorded."""
        rows = self.rows
        full = self._is_full
        return full and (self._reached_max or not (rows.status == Status.OPEN).any())

    @property
    def _reached_max(self) -> bool:
        most = self._quota.max_episodes
        return most is not None and self.rows.num_recorded >= most

    @property
    def _is_full(self) -> bool:
        return self._reached_max or self._store.full

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
            if self.rows.status[row] == Status.OPEN:
                index = finals.get(row)
                self._ended[row] = self._take(
                    row,
                    ended="terminated" if flags[TERMINATED, row] else "truncated",
                    final=None if index is None else self._block.observed_row(observed, index),
                )
            else:
                self._ended[row] = None
            self._begin(row, self._block.observation(slot, row))

    def _cut_and_begin(self, slot: int, observed: Observed) -> None:
        """Rows were reset before a slot."""
        for index, row in enumerate(observed.env_ids):
            if row >= 0:
                self._append(row, slot)
                self._cut(row, "reset")
                self._begin(row, self._block.observed_row(observed, index), self._seed)
        self._seed = None

    def _cut(self, row: int, ended: Ended) -> None:
        """End a row's episode where nothing in it did; its last observation is in its last step."""
        rows = self.rows
        if rows.status[row] != Status.OPEN:
            return
        if rows.num_steps[row] == 0:
            self._store.discard(int(rows.uid[row]))
            rows.leave(row, Status.NONE)
            return
        rows.num_cut += 1
        if self._quota.partial == "keep":
            self._finish(self._take(row, ended=ended, final=None))
        else:
            self._store.discard(int(rows.uid[row]))
            rows.leave(row, Status.NONE)

    def _take(self, row: int, *, ended: Ended, final: tuple[Words, Bytes] | None) -> _Ended:
        """The row's episode has ended; it has none from now on."""
        rows = self.rows
        taken = _Ended(
            row=row,
            uid=int(rows.uid[row]),
            ended=ended,
            success=rows.known_success(row),
            attributes=rows.attributes.get(row, {}),
            final=final,
        )
        rows.leave(row, Status.NONE)
        return taken

    def _begin(self, row: int, first: tuple[Words, Bytes], seed: int | None = None) -> None:
        """A row's next episode begins with this observation."""
        rows = self.rows
        rows.leave(row, Status.NONE)
        rows.episode_id[row] += 1
        if self._is_full:
            return
        attributes = {"env_id": row, "episode_id": int(rows.episode_id[row])}
        if seed is not None:
            attributes["seed"] = seed
        rows.enter(row, self._store.begin(row, *first, attributes))

    def _finish_ended(self) -> None:
        ended, self._ended = self._ended, {}
        for episode in ended.values():
            if episode is not None:
                self._finish(episode)

    def _finish(self, episode: _Ended) -> None:
        rows = self.rows
        if self._reached_max:
            self._store.discard(episode.uid)
            return
        self._store.end(
            episode.uid,
            ended=episode.ended,
            success=episode.success,
            attributes=episode.attributes,
            final=episode.final,
        )
        rows.last_uid[episode.row] = episode.uid
        rows.last_kept[episode.row] = self._quota.keeps(episode.success)
        rows.num_recorded += int(rows.last_kept[episode.row])
        if self._reached_max:
            for row in np.flatnonzero(rows.status == Status.OPEN).tolist():
                self._store.discard(int(rows.uid[row]))
                rows.leave(row, Status.NONE)

    def _lose(self, slot: int) -> None:
        """Count what happened while there was no room, and drop what it tore apart."""
        flags = self._flags[slot]
        num_ended = np.ascontiguousarray(flags[TERMINATED:].T).view("<i4")[:, 0]
        stepped = flags[ACTIVE] != 0
        for row in np.flatnonzero(stepped | (num_ended > 0)).tolist():
            self._append(row, slot)
            self.rows.last_uid[row] = NO_EPISODE if num_ended[row] else self.rows.last_uid[row]
            self._lose_row(row, int(num_ended[row]), stepped=bool(stepped[row]))

    def _lose_row(self, row: int, num_ended: int, *, stepped: bool) -> None:
        rows = self.rows
        known = bool(rows.status[row] == Status.NONE or rows.counted[row])
        is_open = bool(rows.status[row] == Status.OPEN)
        if is_open:
            self._store.discard(int(rows.uid[row]))
        # The first of these episodes is the one that the row was in; it may be accounted for. When
        # no other would have been recorded, no other is lost.
        rows.num_dropped += int(is_open) if self._is_full else num_ended + stepped - known
        rows.episode_id[row] += num_ended
        status = Status.LOST if num_ended or not known or rows.counted[row] else Status.NONE
        rows.leave(row, status, counted=stepped)

    def _apply(self, event: Event, slot: int) -> None:
        if event.do == "seed":
            self._seed = event.values["seed"]
            return
        if event.do == "hole":
            self._tear(slot)
            return
        for row in event.rows:
            ended = self._ended.get(row)
            if ended is not None:
                self._apply_to_ended(ended, event)
            elif event.do == "discard_last":
                self._discard_last(row)
            elif row in self._ended:
                continue  # it is about an episode that was not recorded
            elif event.do == "mark":
                self.rows.mark(row, event.values["success"])
            elif event.do == "annotate":
                self._annotate(row, event.values)
            else:
                self._discard(row, slot)

    def _apply_to_ended(self, episode: _Ended, event: Event) -> None:
        if event.do == "mark":
            episode.success = event.values["success"]
        elif event.do == "annotate":
            episode.attributes = episode.attributes | event.values
        else:
            self._store.discard(episode.uid)
            self._ended[episode.row] = None
            self.rows.num_discarded += 1

    def _annotate(self, row: int, values: dict[str, Any]) -> None:
        if self.rows.status[row] == Status.OPEN:
            self.rows.attributes[row] = self.rows.attributes.get(row, {}) | values

    def _discard(self, row: int, slot: int) -> None:
        if self.rows.status[row] == Status.OPEN:
            self._append(row, slot)
            self._store.discard(int(self.rows.uid[row]))
            self.rows.num_discarded += 1
            self.rows.leave(row, Status.NONE)

    def _discard_last(self, row: int) -> None:
        rows = self.rows
        uid = int(rows.last_uid[row])
        if uid != NO_EPISODE:
            # One that the filter did not let pass is not in the store, as a new writer finds it.
            if rows.last_kept[row]:
                self._store.discard(uid)
                rows.num_recorded -= 1
            rows.num_discarded += 1
            rows.last_uid[row] = NO_EPISODE

    def _tear(self, slot: int) -> None:
        """A step is missing: no episode that is under way can be kept."""
        self._finish_ended()
        for row in range(self.rows.num_envs):
            self._append(row, slot)
            if self.rows.status[row] == Status.OPEN:
                self._lose_row(row, 0, stepped=True)
