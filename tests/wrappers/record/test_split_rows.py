"""Splitting blocks by rows does what a plain implementation does, wherever blocks end."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.wrappers.record.block_reader import BlockReader
from holdstep.wrappers.record.columns import Column, RowLayout
from holdstep.wrappers.record.messages import Event
from holdstep.wrappers.record.quota import Quota
from holdstep.wrappers.record.ring import Block, EntryKind, ring_for
from holdstep.wrappers.record.row_states import UNKNOWN, RowStates
from holdstep.wrappers.record.split_rows import RowSplitter
from tests.wrappers.record.plain_splitter import MemoryStore, PlainSplitter

LAYOUT = RowLayout(
    [
        Column("actions", "float32", (2,), "step"),
        Column("flag", "bool", (), "step"),
        Column("obs/policy", "float32", (1,), "observation"),
        Column("obs/image", "uint8", (2,), "observation"),
    ]
)
WHAT = ("mark", "annotate", "discard", "discard_last", "hole")


@st.composite
def happenings(draw, num_envs):
    """What happens between two places at which a block may end: events, then an entry.

    An entry: its kind, its flags, and the rows whose observations come with it (-1: nobody's).
    """
    masks = st.lists(st.booleans(), min_size=num_envs, max_size=num_envs)
    events = [
        (do, draw(masks), draw(st.booleans()))
        for do in draw(st.lists(st.sampled_from(WHAT), max_size=2))
    ]
    kind = draw(st.sampled_from(["step"] * 6 + ["final"] * 3 + ["first", "gap"]))
    if kind == "gap":
        ended = st.lists(st.sampled_from([0, 0, 1, 300]), min_size=num_envs, max_size=num_envs)
        return events, (EntryKind.GAP, (draw(masks), draw(ended), None, None), []), None
    if kind == "first":
        seed = draw(st.none() | st.integers(0, 9))
        return events, (EntryKind.FIRST, None, rows_of(draw, draw(masks))), seed
    active = draw(masks)
    active = active if draw(st.booleans()) else [True] * num_envs
    terminated, truncated = (
        [a and m for a, m in zip(active, draw(masks), strict=True)] for _ in range(2)
    )
    if draw(st.booleans()):
        terminated = [False] * num_envs
    success = draw(st.lists(st.sampled_from([0, 1, UNKNOWN]), min_size=num_envs, max_size=num_envs))
    observed = rows_of(draw, draw(masks)) if kind == "final" else []
    return events, (EntryKind.STEP, (active, terminated, truncated, success), observed), None


def rows_of(draw, mask):
    """The rows of a mask as the env loop tells them: their ids, or all with -1 for the others."""
    if draw(st.booleans()):
        return [row if is_set else -1 for row, is_set in enumerate(mask)]
    return draw(st.permutations([row for row, is_set in enumerate(mask) if is_set]))


@st.composite
def runs(draw):
    num_envs = draw(st.integers(1, 4))
    groups = draw(st.lists(happenings(num_envs), min_size=1, max_size=14))
    if draw(st.integers(0, 3)):  # most runs begin with a reset of all rows
        groups.insert(0, ([], (EntryKind.FIRST, None, list(range(num_envs))), 3))
    ends = draw(st.sets(st.integers(1, len(groups))))
    quota = Quota(
        max_episodes=draw(st.none() | st.integers(1, 6)),
        counts=draw(st.sampled_from(["all", "succeeded", "failed"])),
        partial=draw(st.sampled_from(["keep", "drop"])),
        success_when=draw(st.sampled_from(["end", "once"])),
    )
    return num_envs, groups, sorted(ends | {len(groups)}), quota, draw(st.integers(0, 2**31))


def flags_of(kind, said, num_envs, random):
    flags = random.integers(0, 2, (5, num_envs)).astype(np.uint8)
    active, terminated, truncated, success = said
    flags[0] = active
    if kind == EntryKind.STEP:
        flags[1], flags[2] = terminated, truncated
        flags[3] = [said == 1 for said in success]
        flags[4] = [said != UNKNOWN for said in success]
    else:
        flags[1:] = np.array(terminated, dtype="<i4").view(np.uint8).reshape(-1, 4).T
    return flags


class BlockWriter:
    """Fills a block with random values, and tells what they are."""

    def __init__(self, num_envs, random, num_slots=40):
        shape, _ = ring_for(LAYOUT, num_envs=num_envs, max_queue_bytes=1)
        self.shape = dataclasses.replace(shape, num_slots=num_slots)
        memory = random.integers(0, 256, self.shape.block_bytes).astype(np.uint8)
        self.block = Block(memory, self.shape)
        self.random = random
        self.kinds, self.num_observed, self.events = [], [], []
        self.num_slots, self.end = 0, self.shape.end

    def add(self, entry):
        kind, said, rows = entry
        num_envs = self.shape.num_envs
        planes = None
        if kind != EntryKind.FIRST:
            flags = flags_of(kind, said, num_envs, self.random)
            self.block.flags[self.num_slots] = flags
            bytes_ = [self.block.bytes_[self.num_slots].reshape(-1, num_envs)[0][:, np.newaxis]]
            image = self.block.bytes_[self.num_slots][num_envs:].reshape(num_envs, 2)
            planes = (self.block.words[self.num_slots].copy(), np.hstack([*bytes_, image]), flags)
            self.num_slots += 1
        observed = self.block.observed(self.end, len(rows))
        observed.words[:, 0] = rows
        self.end -= self.shape.observed_bytes(len(rows))
        self.kinds.append(int(kind))
        self.num_observed.append(len(rows))
        values = {}
        for index, row in enumerate(rows):
            words = np.zeros(LAYOUT.num_words, np.int32)
            bytes_ = np.zeros(LAYOUT.num_bytes, np.uint8)
            words[LAYOUT.observation_words] = observed.words[index, 1:]
            bytes_[LAYOUT.observation_bytes] = observed.bytes_[index]
            if row >= 0:
                values[row] = (words.tolist(), bytes_.tolist())
        return kind, planes, values

    @property
    def reader(self):
        return BlockReader(self.block, LAYOUT, self.kinds, self.num_observed)


def split(splitter, entries, num_envs):
    """Have a block of these entries split."""
    writer = BlockWriter(num_envs, np.random.default_rng(0))
    for entry in entries:
        writer.add(entry)
    splitter.split(writer.reader, [])


def events_of(group, at):
    said, _, seed = group
    events = [
        Event(
            at,
            do,
            [] if do == "hole" else [row for row, chosen in enumerate(mask) if chosen],
            {"mark": {"success": flag}, "annotate": {"note": flag, f"note{at % 2}": at}}.get(
                do, {}
            ),
        )
        for do, mask, flag in said
    ]
    return events + ([] if seed is None else [Event(at, "seed", [], {"seed": seed})])


@settings(max_examples=250, deadline=None)
@given(runs())
def test_blocks_of_any_size_give_what_single_steps_give(run):
    num_envs, groups, ends, quota, seed = run
    random = np.random.default_rng(seed)
    plain = PlainSplitter(num_envs, LAYOUT, quota)
    store = MemoryStore()
    rows = RowStates(num_envs)
    begin = 0
    for end in ends:
        splitter = RowSplitter(store, quota, rows)
        writer, events = BlockWriter(num_envs, random), []
        for index in range(begin, end):
            said = events_of(groups[index], len(writer.kinds))
            # Before a block, nothing can be said: it was said at the end of the one before.
            for event in said if index > begin or begin == 0 else ():
                plain.event(event)
            events += said if index > begin or begin == 0 else []
            if index == begin and begin > 0:
                seeds = [event for event in said if event.do == "seed"]
                events += seeds
                for event in seeds:
                    plain.event(event)
            plain.entry(*writer.add(groups[index][1]))
        if end < len(groups):  # what is said after the last entry of a block goes with it
            late = [e for e in events_of(groups[end], len(writer.kinds)) if e.do != "seed"]
            events += late
            for event in late:
                plain.event(event)
        plain.finish_pending()
        splitter.split(writer.reader, events)
        rows = RowStates.from_json(json.loads(json.dumps(rows.to_json())))
        begin = end
    plain.stop()
    splitter = RowSplitter(store, quota, rows)
    splitter.close()
    assert [e for e in store.episodes if quota.keeps(e.success)] == [
        e for e in plain.episodes if quota.keeps(e.success)
    ]
    for name in ("num_dropped", "num_discarded", "num_cut", "num_recorded"):
        assert getattr(rows, name) == getattr(plain, name), name
    if quota.max_episodes is None:  # else a block ends with steps that are not wanted any more
        assert rows.num_appended == plain.num_appended
    assert not store.under_way
    assert splitter.finished == plain.is_full


def test_never_more_than_max_episodes_even_if_all_rows_end_at_once():
    quota = Quota(max_episodes=3)
    store, rows = MemoryStore(), RowStates(8)
    splitter = RowSplitter(store, quota, rows)
    end = (EntryKind.STEP, ([1] * 8, [1] * 8, [0] * 8, [UNKNOWN] * 8), [])
    split(splitter, [(EntryKind.FIRST, None, list(range(8))), end, end], 8)
    assert [episode.row for episode in store.episodes] == [0, 1, 2]
    assert splitter.finished
    assert not store.under_way


def test_nothing_begins_in_a_full_store_and_what_is_under_way_goes_on():
    store, rows = MemoryStore(), RowStates(2)
    splitter = RowSplitter(store, Quota(), rows)

    def step(*terminated):
        return (EntryKind.STEP, ([1, 1], terminated, [0, 0], [UNKNOWN] * 2), [])

    split(splitter, [(EntryKind.FIRST, None, [0, 1]), step(0, 0)], 2)
    store.full = True
    split(splitter, [step(0, 0), step(1, 0), step(0, 0)], 2)
    assert not splitter.finished
    split(splitter, [step(0, 1), step(0, 0)], 2)
    assert [len(episode.steps) for episode in store.episodes] == [3, 5]
    assert splitter.finished


@pytest.mark.parametrize("num_ended", [0, 1, 255, 256, 65536 + 7])
def test_a_gap_counts_any_number_of_episodes(num_ended):
    store, rows = MemoryStore(), RowStates(1)
    splitter = RowSplitter(store, Quota(), rows)
    entries = [
        (EntryKind.FIRST, None, [0]),
        (EntryKind.STEP, ([1], [0], [0], [UNKNOWN]), []),
        (EntryKind.GAP, ([1], [num_ended], None, None), []),
    ]
    split(splitter, entries, 1)
    assert rows.num_dropped == num_ended + 1
