"""What a store must hold, worked out without its code; and whether it does."""

from __future__ import annotations

import numpy as np

from holdstep.wrappers.record.columns import Column, RowLayout
from holdstep.wrappers.record.folder import RecordingFolder
from holdstep.wrappers.record.formats.hdf5 import list_episodes, open_shard, read_episode
from holdstep.wrappers.record.manifest import Manifest
from holdstep.wrappers.record.store import EpisodeStore
from tests.wrappers.record.faulty_files import ForgetfulFiles

LAYOUT = RowLayout(
    [
        Column("actions", "float32", (2,), "step"),
        Column("obs/policy", "float32", (3,), "observation"),
        Column("obs/camera", "uint8", (2, 2, 3), "observation"),
        Column("rewards", "float16", (), "step"),
        Column("states/robot", "float64", (2,), "observation"),
        Column("terminated", "bool", (), "step"),
    ]
)
ATTRIBUTES = {"env_args": {"env_name": "holdstep:PointMass"}}


def packed(values):
    """Rows of a layout, written down bit by bit, from values by column ``[T, ...]``."""
    length = len(next(iter(values.values())))
    words = np.full((length, LAYOUT.num_words), -1, np.int32)
    bytes_ = np.full((length, LAYOUT.num_bytes), 255, np.uint8)
    for column in LAYOUT:
        if column.name in values:
            plane, unit = (words, np.int32) if column.in_words else (bytes_, np.uint8)
            place = LAYOUT.place(column.name)
            flat = np.ascontiguousarray(values[column.name]).reshape(length, -1)
            plane[:, place.begin : place.end] = flat.view(unit)
    return words, bytes_


def random_rows(random, length, kinds=("step", "observation")):
    values = {}
    for column in LAYOUT:
        if column.kind in kinds:
            raw = random.integers(0, 256, (length, column.num_bytes), dtype=np.uint8)
            if column.dtype == "bool":
                raw &= 1
            shape = (length, *column.shape)
            values[column.name] = raw.view(column.dtype).reshape(shape)
    return values


class ModelEpisode:
    """An episode, as a list of what was told about it."""

    def __init__(self, uid, row, first):
        self.uid, self.row = uid, row
        self.observations = [first]  # before the first step, and after each one
        self.steps = []
        self.ended = None

    @property
    def num_steps(self):
        return sum(len(values["actions"]) for values in self.steps)

    def expected_arrays(self):
        steps = {
            name: np.concatenate([values[name] for values in self.steps])
            for name in ("actions", "rewards", "terminated")
        }
        seen = {
            name: np.concatenate([values[name] for values in self.observations])
            for name in ("obs/policy", "obs/camera", "states/robot")
        }
        if self.final is not None:
            seen = {n: np.concatenate([v[:-1], self.final[n]]) for n, v in seen.items()}
        known = self.final is not None or self.ended in ("reset", "closed")
        arrays = dict(steps)
        for name in ("obs/policy", "obs/camera"):
            arrays[name] = seen[name][:-1]
            if known:
                arrays[f"final_{name}"] = seen[name][-1:]
        arrays["initial_state/robot"] = seen["states/robot"][:1]
        arrays["states/robot"] = seen["states/robot"][1:] if known else seen["states/robot"][1:-1]
        return arrays


class Driver:
    """Drives a store, and keeps a model of what it must hold.

    Attributes:
        acknowledged: episodes that must be there.
        gone: numbers of episodes that must not be there.
        possible: episodes that may be there, or not: what was not committed yet.
    """

    def __init__(self, path, *, seed=0, success_filter="all", **options):
        self.path = path
        self.random = np.random.default_rng(seed)
        self.success_filter = success_filter
        self.options = dict(options, success_filter=success_filter)
        self.acknowledged, self.possible, self.gone = {}, {}, set()
        self.unsure_gone = set()
        self.under_way, self.last = {}, {}
        self.store = None

    def open(self, **options):
        self.store = EpisodeStore(
            self.path, layout=LAYOUT, attributes=ATTRIBUTES, **self.options | options
        )
        return self.store

    def begin(self, row):
        first = random_rows(self.random, 1, ["observation"])
        words, bytes_ = packed(first)
        uid = self.store.begin(row, words[0], bytes_[0], {"seed": row})
        assert uid not in self.acknowledged
        self.gone.discard(uid)  # of an episode that was never committed before a crash
        self.under_way[row] = ModelEpisode(uid, row, first)

    def append(self, row, count=1):
        values = random_rows(self.random, count)
        episode = self.under_way[row]
        episode.steps.append(values)
        episode.observations.append(values)
        # Rows of a block lie apart from each other, as they do here.
        words, bytes_ = (np.repeat(plane[:, None], 2, axis=1)[:, 0] for plane in packed(values))
        self.store.append(episode.uid, words, bytes_)
        words[:], bytes_[:] = 0, 0  # what was handed over may be used for something else

    def end(self, row, ended="terminated", success=True, final=True):
        episode = self.under_way.pop(row)
        episode.ended, episode.success = ended, success
        episode.final = random_rows(self.random, 1, ["observation"]) if final else None
        rows = None if episode.final is None else tuple(p[0] for p in packed(episode.final))
        wanted = {"succeeded": success is True, "failed": success is not True}
        if wanted.get(self.success_filter, True) and episode.num_steps:
            self.possible[episode.uid] = episode
        else:
            self.gone.add(episode.uid)
        self.store.end(episode.uid, ended=ended, success=success, attributes={"n": row}, final=rows)
        self.last[row] = episode.uid

    def discard(self, row):
        uid = self.under_way.pop(row).uid
        self.gone.add(uid)
        self.store.discard(uid)

    def discard_last(self, row):
        uid = self.last.pop(row)
        episode = self.acknowledged.pop(uid, None)
        if episode is not None:
            self.possible[uid] = episode
        self.unsure_gone.add(uid)
        self.store.discard(uid)

    def commit(self, **options):
        self.store.commit(**options)
        for uid in self.unsure_gone:
            self.possible.pop(uid, None)
        self.gone |= self.unsure_gone
        self.unsure_gone = set()
        self.acknowledged |= self.possible
        self.possible = {}
        assert self.store.acknowledged <= len(self.acknowledged)

    def close(self, **options):
        """Commits, too."""
        self.store.close(**options)
        self.gone |= self.unsure_gone | {episode.uid for episode in self.under_way.values()}
        self.acknowledged |= {u: e for u, e in self.possible.items() if u not in self.gone}
        self.possible, self.unsure_gone, self.under_way, self.last = {}, set(), {}, {}


def read_all(path):
    """Every episode of a closed recording by its number, from its files."""
    folder = RecordingFolder.of(path)
    if folder.target is not None:
        files = [folder.target_of(family) for family in ("episodes", "failed")]
        files = sorted({file for file in files if file.exists()})
    else:
        shards = Manifest.read(folder.manifest).shards
        files = [folder.path / shard.file for shard in shards]
        # Nothing else lies around that somebody could take for a shard, or that takes up space.
        assert sorted(files) == sorted(folder.shards.iterdir())
        assert not list(folder.journal.iterdir())
        listed = {e.name: e for shard in shards for e in shard.episodes}
    found, names = {}, set()
    for file in files:
        with open_shard(file) as opened:
            for entry in list_episodes(opened):
                episode = read_episode(opened, entry.name)
                assert episode.name not in names
                names.add(episode.name)
                found[episode.attributes.get("uid", episode.name)] = episode
                if folder.target is None:
                    of_list = listed.pop(episode.name)
                    assert of_list.uid == episode.attributes["uid"]
                    assert of_list.num_steps == episode.num_steps
    assert folder.target is not None or not listed
    return found


def check(found, driver):
    """The episodes that were read are those that must be there, bit for bit."""
    assert not driver.acknowledged.keys() - found.keys(), "acknowledged episodes are lost"
    assert not driver.gone & found.keys(), "discarded episodes came back"
    told = driver.acknowledged | driver.possible
    for uid, episode in found.items():
        check_episode(episode, told[uid])


def check_episode(episode, told):
    expected = told.expected_arrays()
    assert episode.arrays.keys() == expected.keys()
    for name, array in expected.items():
        read = episode.arrays[name]
        assert (read.dtype, read.shape) == (array.dtype, array.shape), name
        assert read.tobytes() == array.tobytes(), name
    assert (episode.ended, episode.success) == (told.ended, told.success)
    assert episode.num_steps == told.num_steps
    attributes = {"uid": told.uid, "env_id": told.row, "seed": told.row, "n": told.row}
    assert dict(episode.attributes) == attributes


def recover(path, driver, **options):
    """Open what a crash left, let everything go to files, and read these."""
    options = {"files": ForgetfulFiles()} | driver.options | options
    store = EpisodeStore(path, layout=LAYOUT, attributes=ATTRIBUTES, **options)
    num_episodes = store.num_episodes
    store.close()
    found = read_all(path)
    assert len(found) == num_episodes
    return found
