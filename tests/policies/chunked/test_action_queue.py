"""The queued actions, against Python lists, on random splices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.policies.chunked.action_queue import ActionQueue
from holdstep.policies.chunked.ages import ActionAges
from holdstep.policies.chunked.handover import Splice

NUM_ENVS, CAPACITY, LENGTH = 4, 6, 8
CPU = torch.device("cpu")


def splice_of(keep, start, count):
    return Splice(keep=np.array(keep), start=np.array(start), count=np.array(count))


def numbered(rows, serial):
    """Chunks whose actions say of which chunk and row they are, and their place in it."""
    chunks = torch.empty(len(rows), LENGTH, 3, dtype=torch.float64)
    chunks[:, :, 0] = serial
    chunks[:, :, 1] = torch.tensor(rows)[:, None]
    chunks[:, :, 2] = torch.arange(LENGTH)
    return chunks


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_rows_do_next_and_how_old_it_is(data):
    queue = ActionQueue(NUM_ENVS, capacity=CAPACITY, action_dim=3, device=CPU)
    ages = ActionAges(NUM_ENVS, capacity=CAPACITY)
    lists = [[] for _ in range(NUM_ENVS)]
    steps = np.zeros(NUM_ENVS, dtype=np.int64)
    for serial in range(data.draw(st.integers(1, 8))):
        rows = data.draw(st.lists(st.integers(0, 3), min_size=1, unique=True))  # in any order
        keep, start, count, when = [], [], [], []
        for row in rows:
            keep.append(data.draw(st.integers(0, min(len(lists[row]), CAPACITY - 1))))
            start.append(data.draw(st.integers(0, LENGTH - 1)))
            most = min(CAPACITY - keep[-1], LENGTH - start[-1])
            count.append(data.draw(st.integers(0, most)))
            when.append(int(data.draw(st.integers(0, int(steps[row])))))
        splice = splice_of(keep, start, count)
        queue.put(np.array(rows), numbered(rows, serial), splice)
        ages.put(np.array(rows), splice, steps[rows] - np.array(when))
        for row, k, s, c, seen in zip(rows, keep, start, count, when, strict=True):
            new = [([serial, row, index], seen) for index in range(s, s + c)]
            lists[row] = lists[row][:k] + new
        for _ in range(data.draw(st.integers(0, CAPACITY))):
            current, old = queue.current(), ages.current()
            upcoming = queue.upcoming(np.arange(NUM_ENVS), 3)
            assert current.shape == (NUM_ENVS, 3)
            assert current.dtype == torch.float32
            for row, left in enumerate(lists):
                if left:
                    assert current[row].tolist() == left[0][0]
                    assert old[row] == steps[row] - left[0][1]
                expected = [action for action, _ in left[:3]]
                assert upcoming[row, : len(expected)].tolist() == expected
            active = np.array([bool(left) and data.draw(st.booleans()) for left in lists])
            queue.advance(active)
            ages.advance(active)
            steps += active
            for row in np.flatnonzero(active):
                lists[row].pop(0)


@pytest.mark.parametrize("mode", ["current", "upcoming"])
def test_what_is_handed_out_is_not_the_queues_own_memory(mode):
    queue = ActionQueue(1, capacity=2, action_dim=1, device=CPU)
    queue.put(np.array([0]), torch.tensor([[[1.0], [2.0]]]), splice_of([0], [0], [2]))
    first = queue.current() if mode == "current" else queue.upcoming(np.array([0]), 2)[:, 0]
    first.fill_(9.0)
    assert queue.current().item() == 1.0


def test_chunks_may_be_changed_by_the_policy_once_they_are_queued():
    queue = ActionQueue(1, capacity=2, action_dim=1, device=CPU)
    chunk = torch.tensor([[[1.0], [2.0]]])
    queue.put(np.array([0]), chunk, splice_of([0], [0], [2]))
    chunk.fill_(9.0)
    assert queue.current().item() == 1.0


def test_a_queue_made_in_inference_mode_is_written_to_outside_and_the_other_way_round():
    with torch.inference_mode():
        made_inside = ActionQueue(1, capacity=2, action_dim=1, device=CPU)
    made_outside = ActionQueue(1, capacity=2, action_dim=1, device=CPU)
    for keep in (0, 1):
        made_inside.put(np.array([0]), torch.ones(1, 2, 1), splice_of([keep], [0], [1]))
        with torch.inference_mode():
            made_outside.put(np.array([0]), torch.ones(1, 2, 1), splice_of([keep], [0], [1]))
    assert made_inside.current().item() == made_outside.current().item() == 1.0


def test_a_row_behind_its_last_action_is_no_error():
    """It is not stepped, and what it gets means nothing."""
    queue = ActionQueue(1, capacity=2, action_dim=1, device=CPU)
    ages = ActionAges(1, capacity=2)
    for _ in range(2):
        queue.advance(np.array([True]))
        ages.advance(np.array([True]))
    assert queue.current().shape == (1, 1)
    assert queue.upcoming(np.array([0]), 2).shape == (1, 2, 1)
    assert ages.current().shape == (1,)
    assert queue.capacity == 2
