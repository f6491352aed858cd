"""Ages of observations, by hand; on random interleavings they are compared in test_ledger."""

import numpy as np

from holdstep.policies.chunked.ages import ActionAges
from holdstep.policies.chunked.handover import Splice


def splice_of(keep, start, count):
    return Splice(keep=np.array(keep), start=np.array(start), count=np.array(count))


def test_ages_grow_within_a_chunk_and_fall_at_the_next():
    ages, seen = ActionAges(1, capacity=3), []
    for tick in range(6):
        if tick % 3 == 0:
            ages.put(np.array([0]), splice_of([0], [0], [3]), age=np.array([0]))
        seen.append(int(ages.current()[0]))
        ages.advance(np.array([True]))
    assert seen == [0, 1, 2, 0, 1, 2]


def test_an_appended_chunk_is_older_than_the_one_before_it_at_the_seam():
    """Observed two steps before the old one's end: ages 0 1 2 3 of the old one, then 2 3 4 5."""
    ages, seen = ActionAges(1, capacity=6), []
    ages.put(np.array([0]), splice_of([0], [0], [4]), age=np.array([0]))
    for tick in range(8):
        if tick == 3:  # one action is left by then
            ages.put(np.array([0]), splice_of([1], [0], [4]), age=np.array([1]))
        seen.append(int(ages.current()[0]))
        ages.advance(np.array([True]))
    assert seen == [0, 1, 2, 3, 2, 3, 4, 5]


def test_what_was_executed_is_added_up_whatever_became_of_the_rest():
    ages, both = ActionAges(2, capacity=4), np.array([0, 1])
    ages.put(both, splice_of([0, 0], [0, 0], [4, 4]), age=np.array([0, 5]))
    assert ages.executed() == (0, 0)
    for active in ([True, True], [True, False]):
        ages.advance(np.array(active))
    assert ages.executed() == ages.executed() == (0 + 1 + 5, 5)
    ages.put(np.array([0]), splice_of([0], [0], [4]), age=np.array([0]))  # two are dropped
    ages.put(np.array([1]), splice_of([3], [0], [1]), age=np.array([0]))  # three are kept
    assert ages.executed() == (6, 5)
    ages.advance(np.array([True, True]))
    assert ages.executed() == (6 + 0 + 6, 6)
    ages.clear()
    assert ages.executed() == (0, 0)


def test_an_observation_does_not_age_while_its_row_stands_still():
    ages = ActionAges(2, capacity=4)
    ages.put(np.array([0, 1]), splice_of([0, 0], [0, 0], [4, 4]), age=np.array([0, 0]))
    active = np.array([True, False])
    for _ in range(3):
        ages.advance(active)
    assert ages.current().tolist() == [3, 0]


def test_what_the_caller_does_to_its_arrays_later_does_not_matter():
    ages, age = ActionAges(1, capacity=2), np.array([2])
    ages.put(np.array([0]), splice_of([0], [0], [2]), age=age)
    age[0] = 7
    assert ages.current().tolist() == [2]
    ages.current()[0] = 7
    assert ages.current().tolist() == [2]
