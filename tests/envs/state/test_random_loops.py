"""Loops over rows: what simulators draw in them, one row after the other, is that row's."""

from __future__ import annotations

import random as python_random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from holdstep.envs.state.per_env_random import PerEnvRandom, UnattributedDrawWarning

N = 5

WAYS = {
    "tolist": lambda ids: ids.tolist(),
    "tensor": lambda ids: ids,
    "copy": lambda ids: ids.clone().tolist(),
    "on the host": lambda ids: ids.cpu().tolist(),
    "int32": lambda ids: ids.int().tolist(),
    "enumerate": lambda ids: (row for _, row in enumerate(ids.tolist())),
    "zip": lambda ids: (row for row, _ in zip(ids.tolist(), range(9), strict=False)),
}


@pytest.fixture
def random() -> Iterator[PerEnvRandom]:
    made = PerEnvRandom(N, "cpu", 7, engine="torch")
    yield made
    made.close()


def place() -> list[float]:
    """As tasks draw where they put cubes, until two are far apart; more or fewer numbers."""
    sample = [python_random.uniform(-1, 1) for _ in range(2)]
    while abs(sample[0] - sample[1]) < 0.5:
        sample[1] = python_random.uniform(-1, 1)
    return [*sample, np.random.normal(), *torch.rand(2).tolist(), *torch.randn(N).tolist()]


def places(random, ids, way="tolist") -> dict[int, list[float]]:
    ids = torch.as_tensor(ids)
    with random.active(), random.rows(ids):
        return {int(row): place() for row in WAYS[way](ids)}


def alone(row) -> list[float]:
    """What a row draws that is reset by itself."""
    random = PerEnvRandom(N, "cpu", 7, engine="torch")
    found = places(random, [row])
    assert random.unattributed == {}
    assert random.counter.nonzero().tolist() == [[row]]
    random.close()
    return found[row]


@pytest.mark.parametrize("way", WAYS)
def test_a_row_draws_what_it_draws_alone(random, way):
    assert places(random, [4, 0, 2], way) == {row: alone(row) for row in (4, 0, 2)}
    assert random.unattributed == {}
    assert (random.counter > 0).tolist() == [True, False, True, False, True]


def test_of_all_rows(random):
    with random.active(), random.rows(None):
        found = {row: place() for row in torch.arange(N).tolist()}
    assert found == {row: alone(row) for row in range(N)}
    assert len({tuple(numbers) for numbers in found.values()}) == N


def test_of_rows_that_were_looked_up(random):
    with random.active(), random.rows(None):
        ids = torch.tensor([True, False, True, False, False]).nonzero().squeeze(-1)
        found = {row: place() for row in ids.tolist()}
    assert found == {row: alone(row) for row in (0, 2)}


def test_a_second_loop_goes_on_in_the_rows_streams(random):
    first = places(random, [1, 3])
    second = places(random, [3, 1])
    assert first[1] != second[1]
    random.counter.zero_()
    assert places(random, [3]) == {3: first[3]}
    assert places(random, [3]) == {3: second[3]}


def test_each_loop_has_numbers_of_its_own(random):
    """Also if nothing is drawn but with Python, which takes one number of the row's stream."""
    ids = torch.tensor([1, 3])
    with random.active(), random.rows(ids):
        loops = [[python_random.random() for _ in ids.tolist()] for _ in range(2)]
    assert len({*loops[0], *loops[1]}) == 4
    assert random.counter.tolist() == [0, 2, 0, 2, 0]


def test_functions_that_draw_many(random):
    """Which take several numbers of a stream, and choose by them."""
    ids = torch.tensor([0, 1])
    with random.active(), random.rows(ids):
        for _ in ids.tolist():
            assert sorted(python_random.sample(range(9), 9)) == list(range(9))
            assert python_random.choice("abc") in "abc"
            assert sorted(np.random.permutation(7)) == list(range(7))
            assert sorted(torch.randperm(6).tolist()) == list(range(6))
            assert np.random.rand(3, 2).shape == (3, 2)
    assert random.unattributed == {}
    assert not random.missed


def leave_by_break(ids):
    for _ in ids.tolist():
        break


def leave_by_error(ids):
    def fail():
        for _ in ids.tolist():
            raise KeyError

    with pytest.raises(KeyError):
        fail()


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_error, list, lambda ids: ids.tolist()])
def test_a_loop_that_is_over_is_over(random, leave):
    ids = torch.tensor([0, 3])
    with random.active(), random.rows(ids):
        leave(ids)
        with pytest.warns(UnattributedDrawWarning):
            python_random.random()
        torch.rand(2, 3)
    assert random.counter.tolist() == [3, 0, 0, 3, 0]


def test_a_loop_within_a_loop(random):
    ids = torch.tensor([0, 3])
    with random.active(), random.rows(ids):
        for _ in ids.tolist():
            assert sum(1 for _ in ids.tolist()) == 2
            torch.rand(7)
    assert random.counter.tolist() == [7, 0, 0, 7, 0]


def test_loops_side_by_side(random):
    ids = torch.tensor([0, 3])
    with random.active(), random.rows(ids):
        for one, other in zip(ids.tolist(), ids, strict=False):
            assert one == other
            torch.rand(7)
        torch.rand(2, 3)
    assert random.counter.tolist() == [10, 0, 0, 10, 0]


def test_rows_that_code_inside_a_loop_is_about(random):
    ids = torch.tensor([0, 3])
    with random.active(), random.rows(ids):
        for _ in ids.tolist():
            with random.rows([1, 2, 4]):
                torch.rand(3)
    assert random.counter.tolist() == [0, 2, 2, 0, 2]


def test_the_first_of_the_rows(random):
    ids = torch.tensor([4, 0, 2])
    with random.active(), random.rows(ids):
        found = {row: place() for row in ids[:2].tolist()}
    assert found == {row: alone(row) for row in (4, 0)}


@pytest.mark.parametrize(
    "values",
    [[0], [3, 0], [0, 3, 4], [[0, 3]], [0.0, 3.0], [], [True, False]],
    ids=str,
)
def test_other_lists_are_plain(random, values):
    ids = torch.tensor([0, 3])
    with random.active(), random.rows(ids):
        assert type(torch.tensor(values).tolist()) is list
        assert type(torch.tensor(4).tolist()) is int
        for _ in torch.tensor(values):
            with pytest.warns(UnattributedDrawWarning):
                torch.rand(7)
            break
    assert random.counter.sum() == 0
    assert type(ids.tolist()) is list


def test_the_list_of_rows_is_a_list(random):
    ids = torch.tensor([4, 0, 2])
    with random.active(), random.rows(ids):
        rows = ids.tolist()
        assert rows == [4, 0, 2]
        assert torch.equal(torch.tensor(rows), ids)
        assert torch.arange(N)[rows].equal(ids)
        assert np.array(rows).tolist() == [4, 0, 2]
        assert rows[1:] + rows[:1] == [0, 2, 4]
        assert sorted(rows) == [0, 2, 4]
