"""Splitting blocks by rows does what a plain implementation does, wherever blocks end."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.wrappers.record.columns import Column, RowLayout
from holdstep.wrappers.record.messages import Event
from holdstep.wrappers.record.quota import Quota
from holdstep.wrappers.record.ring import SlotKind
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
def groups_of_slots(draw, num_envs):
    """What happens between two places at which a block may end: events, then slots."""
    masks = st.lists(st.booleans(), min_size=num_envs, max_size=num_envs)
    events = [
        (do, draw(masks), draw(st.booleans()))
        for do in draw(st.lists(st.sampled_from(WHAT), max_size=2))
    ]
    kind = draw(st.sampled_from(["step"] * 6 + ["final"] * 3 + ["first", "gap"]))
    if kind == "gap":
        ended = st.lists(st.sampled_from([0, 0, 1, 300]), min_size=num_envs, max_size=num_envs)
        return events, [(SlotKind.GAP, draw(masks), draw(ended), None, None)], None
    if kind == "first":
        seed = draw(st.none() | st.integers(0, 9))
        return events, [(SlotKind.FIRST, draw(masks), None, None, None)], seed
    active = draw(masks)
    active = active if draw(st.booleans()) else [True] * num_envs
    terminated, truncated = (
        [a and m for a, m in zip(active, draw(masks), strict=True)] for _ in range(2)
    )
    if draw(st.booleans()):
        terminated = [False] * num_envs
    success = draw(st.lists(st.sampled_from([0, 1, UNKNOWN]), min_size=num_envs, max_size=num_envs))
    slots = [(SlotKind.STEP, active, terminated, truncated, success)]
    if kind == "final":
        slots.insert(0, (SlotKind.FINAL, draw(masks), None, None, None))
    return events, slots, None


@st.composite
def runs(draw):
    num_envs = draw(st.integers(1, 4))
    groups = draw(st.lists(groups_of_slots(num_envs), min_size=1, max_size=14))
    if draw(st.integers(0, 3)):  # most runs begin with a reset of all rows
        groups.insert(0, ([], [(SlotKind.FIRST, [True] * num_envs, None, None, None)], 3))
    ends = draw(st.sets(st.integers(1, len(groups))))
    quota = Quota(
        max_episodes=draw(st.none() | st.integers(1, 6)),
        counts=draw(st.sampled_from(["all", "succeeded", "failed"])),
        partial=draw(st.sampled_from(["keep", "drop"])),
        success_when=draw(st.sampled_from(["end", "once"])),
    )
    return num_envs, groups, sorted(ends | {len(groups)}), quota, draw(st.integers(0, 2**31))


def planes(slot, num_envs, random):
    kind, active, terminated, truncated, success = slot
    words = random.integers(-(2**31), 2**31, (num_envs, LAYOUT.num_words)).astype(np.int32)
    bytes_ = random.integers(0, 256, (num_envs, LAYOUT.num_bytes)).astype(np.uint8)
    flags = random.integers(0, 2, (5, num_envs)).astype(np.uint8)
    flags[0] = active
    if kind == SlotKind.STEP:
        flags[1], flags[2] = terminated, truncated
        flags[3] = [said == 1 for said in success]
        flags[4] = [said != UNKNOWN for said in success]
    if kind == SlotKind.GAP:
        flags[1:] = np.array(terminated, dtype="<i4").view(np.uint8).reshape(-1, 4).T
    return words, bytes_, flags


def block_of(made):
    words, bytes_, flags = map(np.stack, zip(*made, strict=True))
    return SimpleNamespace(words=words, bytes_=bytes_, flags=flags)


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
        splitter = RowSplitter(store, LAYOUT, quota, rows)
        kinds, events, made = [], [], []
        for index in range(begin, end):
            said = events_of(groups[index], len(kinds))
            # Before a block, nothing can be said: it was said at the end of the one before.
            for event in said if index > begin or begin == 0 else ():
                plain.event(event)
            events += said if index > begin or begin == 0 else []
            if index == begin and begin > 0:
                seeds = [event for event in said if event.do == "seed"]
                events += seeds
                for event in seeds:
                    plain.event(event)
            for slot in groups[index][1]:
                made.append(planes(slot, num_envs, random))
                plain.slot(slot[0], *made[-1])
                kinds.append(int(slot[0]))
        if end < len(groups):  # what is said after the last slot of a block goes with it
            late = [e for e in events_of(groups[end], len(kinds)) if e.do != "seed"]
            events += late
            for event in late:
                plain.event(event)
        plain.finish_pending()
        splitter.split(block_of(made), kinds, events)
        rows = RowStates.from_json(json.loads(json.dumps(rows.to_json())))
        begin = end
    plain.stop()
    splitter = RowSplitter(store, LAYOUT, quota, rows)
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
    splitter = RowSplitter(store, LAYOUT, quota, rows)
    slots = [(SlotKind.FIRST, [1] * 8, None, None, None)]
    slots += [(SlotKind.STEP, [1] * 8, [1] * 8, [0] * 8, [UNKNOWN] * 8)] * 2
    made = [planes(slot, 8, np.random.default_rng(0)) for slot in slots]
    splitter.split(block_of(made), [slot[0] for slot in slots], [])
    assert [episode.row for episode in store.episodes] == [0, 1, 2]
    assert splitter.finished
    assert not store.under_way


def test_nothing_begins_in_a_full_store_and_what_is_under_way_goes_on():
    store, rows = MemoryStore(), RowStates(2)
    splitter = RowSplitter(store, LAYOUT, Quota(), rows)
    random = np.random.default_rng(0)

    def split(*slots):
        made = [planes(slot, 2, random) for slot in slots]
        splitter.split(block_of(made), [slot[0] for slot in slots], [])

    step = (SlotKind.STEP, [1, 1], [0, 0], [0, 0], [UNKNOWN] * 2)
    split((SlotKind.FIRST, [1, 1], None, None, None), step)
    store.full = True
    split(step, (SlotKind.STEP, [1, 1], [1, 0], [0, 0], [UNKNOWN] * 2), step)
    assert not splitter.finished
    split((SlotKind.STEP, [1, 1], [0, 1], [0, 0], [UNKNOWN] * 2), step)
    assert [len(episode.steps) for episode in store.episodes] == [3, 5]
    assert splitter.finished


@pytest.mark.parametrize("num_ended", [0, 1, 255, 256, 65536 + 7])
def test_a_gap_counts_any_number_of_episodes(num_ended):
    store, rows = MemoryStore(), RowStates(1)
    splitter = RowSplitter(store, LAYOUT, Quota(), rows)
    slots = [
        (SlotKind.FIRST, [1], None, None, None),
        (SlotKind.STEP, [1], [0], [0], [UNKNOWN]),
        (SlotKind.GAP, [1], [num_ended], None, None),
    ]
    made = [planes(slot, 1, np.random.default_rng(0)) for slot in slots]
    splitter.split(block_of(made), [slot[0] for slot in slots], [])
    assert rows.num_dropped == num_ended + 1
