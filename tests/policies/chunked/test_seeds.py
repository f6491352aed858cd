"""Seeds of chunks: a function of what the chunk is, and of nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdstep.policies.chunked.seeds import chunk_seeds

WORD = 2**64
IDS = st.integers(min_value=-1, max_value=2**62)


def mixed(bits):
    """SplittableRandom's finaliser, in Python's integers."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % WORD
    return bits ^ (bits >> 31)


def seed_of(run, *parts):
    key = run % WORD
    for part in parts:
        key = mixed((mixed((key + 0x9E3779B97F4A7C15) % WORD) + part) % WORD)
    return key >> 1


def one(run, *parts):
    return int(chunk_seeds(run, *(np.array([part]) for part in parts))[0])


def test_the_finaliser_is_the_published_one():
    """Known outputs of SplitMix64 from the states 0 and 1234567."""
    gamma = 0x9E3779B97F4A7C15
    assert mixed(gamma) == 0xE220A8397B1DCDAF
    assert mixed((1234567 + gamma) % WORD) == 6457827717110365317


@given(st.integers(-(2**70), 2**70), IDS, IDS, IDS)
def test_seeds_equal_a_second_implementation(run, env_id, episode_id, chunk_id):
    assert one(run, env_id, episode_id, chunk_id) == seed_of(run, env_id, episode_id, chunk_id)


def test_seeds_stay_what_they_are():
    """A change of the hash would make every recorded evaluation irreproducible."""
    assert one(0, 0, 0, 0) == 7199628955092691018
    assert one(7, 3, 1, 2) == 5534668250561563700
    assert one(-1, 63, 1000, 31) == 21135082429900493


@given(st.integers(0, 2**31), st.lists(st.tuples(IDS, IDS, IDS), min_size=1, max_size=20))
def test_a_seed_does_not_depend_on_the_batch(run, chunks):
    together = chunk_seeds(run, *np.array(chunks).T)
    assert together.dtype == np.int64
    assert (together >= 0).all()
    for seed, chunk in zip(together.tolist(), chunks, strict=True):
        assert seed == one(run, *chunk)


def test_seeds_are_distinct_over_a_grid():
    """400,000 of them: that any two of 2**63 agree has a probability of about 1e-8."""
    grid = np.meshgrid(np.arange(-1, 49), np.arange(40), np.arange(20), indexing="ij")
    parts = [part.ravel() for part in grid]
    seeds = np.concatenate([chunk_seeds(run, *parts) for run in range(10)])
    assert len(np.unique(seeds)) == len(seeds) == 400_000


@pytest.mark.parametrize("swap", [(0, 1), (1, 2), (2, 3)])
def test_no_two_roles_are_exchangeable(swap):
    """Run 3's row 5 is another one than run 5's row 3, and so on."""
    for first in range(20):
        for second in range(first):
            parts = [100, 101, 102, 103]
            parts[swap[0]], parts[swap[1]] = first, second
            swapped = list(parts)
            swapped[swap[0]], swapped[swap[1]] = second, first
            assert one(*parts) != one(*swapped)


def test_every_bit_of_a_seed_is_even():
    seeds = chunk_seeds(3, *(np.repeat(np.arange(4096), 1),) * 3)
    ones = [((seeds >> bit) & 1).mean() for bit in range(63)]
    assert 0.45 < min(ones) < max(ones) < 0.55


def test_neither_the_order_of_the_arrays_nor_their_memory_matters():
    rows = np.arange(12)
    backwards = chunk_seeds(1, rows[::-1], rows[::-1], rows[::-1])
    assert np.array_equal(backwards[::-1], chunk_seeds(1, rows, rows, rows))
    assert chunk_seeds(1, rows[:0], rows[:0], rows[:0]).shape == (0,)
