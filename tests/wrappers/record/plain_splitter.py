"""A second, plain implementation of the splitting of blocks, and a store in memory."""

from dataclasses import dataclass, field

import numpy as np

from holdstep.wrappers.record.ring import EntryKind


@dataclass
class Stored:
    """An episode in a store."""

    row: int
    first: tuple
    begun_with: dict
    steps: list = field(default_factory=list)
    ended: str | None = None
    success: bool | None = None
    attributes: dict = field(default_factory=dict)
    final: tuple | None = None

    def __eq__(self, other):
        return vars(self) == vars(other)


class MemoryStore:
    """Keeps episodes in memory, in the order in which they ended; copies what it is given."""

    full = False

    def __init__(self):
        self.under_way = {}
        self.finished = {}
        self.num_begun = 0

    def begin(self, row, words, bytes_, attributes):
        self.num_begun += 1
        first = (words.tolist(), bytes_.tolist())
        self.under_way[self.num_begun] = Stored(row, first, dict(attributes))
        return self.num_begun

    def append(self, uid, words, bytes_):
        assert len(words) == len(bytes_) > 0
        self.under_way[uid].steps += zip(words.tolist(), bytes_.tolist(), strict=True)

    def end(self, uid, *, ended, success, attributes, final):
        episode = self.under_way.pop(uid)
        assert episode.steps, "an episode without a step"
        episode.ended, episode.success = ended, success
        episode.attributes = dict(attributes)
        episode.final = None if final is None else tuple(plane.tolist() for plane in final)
        self.finished[uid] = episode

    def discard(self, uid):
        if uid in self.under_way:
            del self.under_way[uid]
            return
        row = self.finished[uid].row
        assert uid == max(u for u, e in self.finished.items() if e.row == row), "not the last one"
        del self.finished[uid]

    @property
    def episodes(self):
        return list(self.finished.values())


@dataclass
class PlainRow:
    """A row, step by step."""

    row: int
    episode: Stored | None = None
    lost: bool = False
    counted: bool = False
    said: int = 2
    marked: int = 2
    attributes: dict = field(default_factory=dict)
    episode_id: int = -1
    last: Stored | None = None

    def leave(self):
        self.episode, self.lost, self.counted = None, False, False
        self.said = self.marked = 2
        self.attributes = {}


class PlainSplitter:
    """What :class:`RowSplitter` does, one row and one entry at a time."""

    def __init__(self, num_envs, layout, quota):
        self.rows = [PlainRow(row) for row in range(num_envs)]
        self.layout = layout
        self.quota = quota
        self.episodes = []
        self.pending = []
        self.just_ended = set()
        self.seed = None
        self.num_dropped = self.num_discarded = self.num_cut = self.num_appended = 0

    @property
    def num_recorded(self):
        return sum(self.quota.keeps(episode.success) for episode in self.episodes)

    @property
    def is_full(self):
        return self.quota.max_episodes is not None and self.num_recorded >= self.quota.max_episodes

    def entry(self, kind, planes, observed):
        """One entry: words ``[N, W]``, bytes ``[N, B]``, flags ``[5, N]``; observations by row."""
        self.finish_pending()
        if kind == EntryKind.FIRST:
            for number, values in observed.items():
                self.cut(self.rows[number], "reset")
                self.begin(self.rows[number], values, self.seed)
            self.seed = None
            return
        words, bytes_, flags = planes
        for row in self.rows:
            values = (words[row.row].tolist(), bytes_[row.row].tolist())
            active, terminated, truncated, success, reported = (int(f[row.row]) for f in flags)
            if kind == EntryKind.GAP:
                counts = (terminated, truncated, success, reported)
                self.gap(row, active, int.from_bytes(counts, "little"))
            elif active:
                said = success if reported else 2
                self.step(row, values, terminated, truncated, said, observed.get(row.row))

    def step(self, row, values, terminated, truncated, success, final):
        if row.episode is not None:
            row.episode.steps.append(values)
            self.num_appended += 1
            if self.quota.success_when == "end":
                row.said = success
            elif success != 2:
                row.said = 1 if 1 in (row.said, success) else 0
        elif row.lost and not row.counted:
            row.counted = True
            self.num_dropped += 1
        if terminated or truncated:
            if row.episode is not None:
                final = None if final is None else self.observed(final)
                self.close(row, "terminated" if terminated else "truncated", final)
                self.pending.append(row.episode)
            self.just_ended.add(row.row)
            self.begin(row, values, None)

    def close(self, row, ended, final):
        episode = row.episode
        episode.ended, episode.final = ended, final
        said = row.said if row.marked == 2 else row.marked
        episode.success = None if said == 2 else bool(said)
        episode.attributes = row.attributes

    def begin(self, row, values, seed):
        row.leave()
        row.episode_id += 1
        if not self.is_full:
            attributes = {"env_id": row.row, "episode_id": row.episode_id}
            if seed is not None:
                attributes["seed"] = seed
            row.episode = Stored(row.row, self.observed(values), attributes)

    def observed(self, values):
        words, bytes_ = np.array(values[0]), np.array(values[1])
        words[: self.layout.observation_words.start] = 0
        bytes_[: self.layout.observation_bytes.start] = 0
        return words.tolist(), bytes_.tolist()

    def cut(self, row, ended):
        if row.episode is not None and row.episode.steps:
            self.num_cut += 1
            if self.quota.partial == "keep":
                self.close(row, ended, None)
                episode = row.episode
                row.leave()
                self.finish(episode)
        row.leave()

    def gap(self, row, stepped, num_ended):
        if not stepped and not num_ended:
            return
        if num_ended:
            row.last = None
        # Walk through the episodes that took part in it.
        unrecorded = row.episode is None and not row.lost  # nobody wanted this one
        counted = row.counted
        parts = 0 if self.is_full else num_ended + stepped - (unrecorded or counted)
        self.num_dropped += parts
        row.leave()
        row.episode_id += num_ended
        if num_ended or not unrecorded:
            row.lost, row.counted = True, bool(stepped)

    def finish_pending(self):
        pending, self.pending = self.pending, []
        self.just_ended.clear()
        for episode in pending:
            self.finish(episode)

    def finish(self, episode):
        if self.is_full:
            return
        self.episodes.append(episode)
        self.rows[episode.row].last = episode
        if self.is_full:
            for row in self.rows:
                if row.episode is not None:
                    row.leave()

    def event(self, event):
        if event.do == "seed":
            self.seed = event.values["seed"]
        elif event.do == "hole":
            self.finish_pending()
            for row in self.rows:
                if row.episode is not None:
                    self.num_dropped += 1
                    row.leave()
                    row.lost = row.counted = True
        for number in event.rows:
            row = self.rows[number]
            ended = [episode for episode in self.pending if episode.row == number]
            if number in self.just_ended and not ended and event.do != "discard_last":
                continue  # it is about an episode that is not recorded
            if event.do == "mark":
                if ended:
                    ended[0].success = event.values["success"]
                elif row.episode is not None:
                    row.marked = int(event.values["success"])
            elif event.do == "annotate":
                if ended:
                    ended[0].attributes = ended[0].attributes | event.values
                elif row.episode is not None:
                    row.attributes = row.attributes | event.values
            elif ended:
                self.num_discarded += 1
                self.pending.remove(ended[0])
            elif event.do == "discard" and row.episode is not None:
                self.num_discarded += 1
                row.leave()
            elif event.do == "discard_last" and row.last is not None:
                self.num_discarded += 1
                self.episodes = [episode for episode in self.episodes if episode is not row.last]
                row.last = None

    def stop(self):
        self.finish_pending()
        for row in self.rows:
            self.cut(row, "closed")
