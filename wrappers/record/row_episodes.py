"""The episodes that rows are in: how they begin, end, and are lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.wrappers.record.episode import Ended
from holdstep.wrappers.record.records import Bytes, Words
from holdstep.wrappers.record.row_states import NO_EPISODE, RowStates, Status

if TYPE_CHECKING:
    from holdstep.wrappers.record.messages import Event
    from holdstep.wrappers.record.quota import Quota
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


class RowEpisodes:
    """Begins and ends episodes of single rows in a store, as far as they are to be recorded.

    An episode without a step is never stored.

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

    @property
    def finished(self) -> bool:
        """Whether nothing more will be recorded."""
        return self._is_full and (self._reached_max or not (self.rows.status == Status.OPEN).any())

    def end(self, row: int, ended: Ended, final: tuple[Words, Bytes] | None) -> None:
        """A row's episode has ended in a step; until the next, the user may still speak of it."""
        is_recorded = self.rows.status[row] == Status.OPEN
        self._ended[row] = self._take(row, ended=ended, final=final) if is_recorded else None

    def begin(self, row: int, first: tuple[Words, Bytes], seed: int | None = None) -> None:
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

    def cut(self, row: int, ended: Ended) -> None:
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

    def finish_ended(self) -> None:
        """Nobody can speak any more of the episodes that ended in the last step."""
        ended, self._ended = self._ended, {}
        for episode in ended.values():
            if episode is not None:
                self._finish(episode)

    def lose(self, row: int, num_ended: int, *, stepped: bool) -> None:
        """Steps of a row are missing, in which so many episodes ended, and one may go on."""
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

    def remark(self, row: int, event: Event) -> None:
        """The user said something of the row's episode, of the one that ended just now if any."""
        ended = self._ended.get(row)
        if ended is not None:
            self._remark_ended(ended, event)
        elif event.do == "discard_last":
            self._discard_last(row)
        elif row in self._ended:
            return  # it is about an episode that was not recorded
        elif event.do == "mark":
            self.rows.mark(row, event.values["success"])
        elif event.do == "annotate":
            self._annotate(row, event.values)
        elif self.rows.status[row] == Status.OPEN:
            self._store.discard(int(self.rows.uid[row]))
            self.rows.num_discarded += 1
            self.rows.leave(row, Status.NONE)

    @property
    def _reached_max(self) -> bool:
        most = self._quota.max_episodes
        return most is not None and self.rows.num_recorded >= most

    @property
    def _is_full(self) -> bool:
        return self._reached_max or self._store.full

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

    def _remark_ended(self, episode: _Ended, event: Event) -> None:
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
