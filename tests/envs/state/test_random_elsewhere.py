"""Draws from Python's and NumPy's streams: made row by row where it can be said whose they are."""

from __future__ import annotations

import inspect
import random as python_random
from collections.abc import Iterator

import numpy as np
import pytest

from holdstep.envs.state.per_env_random import PerEnvRandom, UnattributedDrawWarning

N = 5

SIZED = {
    "uniform": lambda k: np.random.uniform(-2.0, 3.0, size=(k, 400)),
    "uniform of arrays": lambda k: np.random.uniform([-2.0], np.full((k, 1), 3.0), (k, 400)),
    "random": lambda k: np.random.random((k, 400)),
    "random_sample": lambda k: np.random.random_sample(size=(k, 400)),
    "rand": lambda k: np.random.rand(k, 400),
    "normal": lambda k: np.random.normal(1.0, 2.0, (k, 400)),
    "normal by names": lambda k: np.random.normal(loc=1.0, scale=2.0, size=(k, 400)),
    "standard_normal": lambda k: np.random.standard_normal((k, 400)),
    "randn": lambda k: np.random.randn(k, 400),
    "randint": lambda k: np.random.randint(9, size=(k, 400)),
    "randint of bytes": lambda k: np.random.randint(3, 9, (k, 400), np.uint8),
}


@pytest.fixture
def random() -> Iterator[PerEnvRandom]:
    made = PerEnvRandom(N, "cpu", 7, engine="torch")
    yield made
    made.close()


@pytest.mark.parametrize("name", SIZED)
def test_arrays_of_rows_are_those_rows(random, name):
    draw = SIZED[name]
    with random.active():
        of_all = draw(N)
        assert random.counter.tolist() == [400] * N
        random.counter.zero_()
        with random.rows([3, 1]):
            assert (draw(2) == of_all[[3, 1]]).all()
    assert random.counter.tolist() == [0, 400, 0, 400, 0]
    assert random.unattributed == {}


@pytest.mark.parametrize("name", SIZED)
def test_arrays_are_distributed_as_numpys(random, name):
    draw = SIZED[name]
    np.random.seed(0)
    expected = draw(N)
    with random.active():
        drawn = draw(N)
    assert drawn.dtype == expected.dtype
    assert drawn.shape == expected.shape
    spread = expected.std()
    assert abs(drawn.mean() - expected.mean()) < 0.1 * spread
    assert abs(drawn.std() - spread) < 0.1 * spread
    assert abs(drawn.min() - expected.min()) < 0.6 * spread
    assert abs(drawn.max() - expected.max()) < 0.6 * spread
    assert len(np.unique(drawn)) > 5


@pytest.mark.filterwarnings("ignore::holdstep.envs.state.per_env_random.UnattributedDrawWarning")
@pytest.mark.parametrize(
    ("draw", "error"),
    [
        (lambda: np.random.normal(scale=-1.0, size=N), ValueError),
        (lambda: np.random.randint(3, 3, size=N), ValueError),
        (lambda: np.random.uniform(size=N, hihg=1), TypeError),
    ],
)
def test_what_numpy_refuses_is_refused(random, draw, error):
    for context in (random.rows(None), random.active()):
        with context, pytest.raises(error):
            draw()
    assert random.counter.sum() == 0


def test_one_number_belongs_to_no_row_and_is_reported_once_a_place(random):
    def numbers():
        return [
            (
                python_random.uniform(-1, 1),
                np.random.normal(),
                np.random.rand(),
                np.random.choice(9),
            )
            for _ in range(2)
        ]

    def seeded():
        python_random.seed(5)
        np.random.seed(5)
        return numbers()

    expected = seeded()
    with random.active(), pytest.warns(UnattributedDrawWarning) as caught, random.rows([0, 2]):
        assert seeded() == expected
    assert list(random.unattributed.values()) == [2, 2, 2, 2]  # the lines of numbers()
    assert all("test_random_elsewhere.py" in place for place in random.unattributed)
    assert len(caught) == 4
    assert "random.uniform, from a stream that all rows share" in str(caught[0].message)
    assert "env_ids.tolist()" in str(caught[0].message)
    assert not random.missed
    assert random.counter.tolist() == [0] * N


def test_arrays_that_are_no_rows_are_shared_and_reported(random):
    with random.active(), random.rows([0, 2]), pytest.warns(UnattributedDrawWarning):
        assert np.random.uniform(size=3).shape == (3,)
    assert random.counter.tolist() == [0] * N


def test_the_signatures_are_numpys():
    """As far as they can be looked up: the names of the parameters and their order."""
    from holdstep.envs.state.random_elsewhere import _BY_ROWS

    for name, ours in _BY_ROWS.items():
        documented = getattr(np.random, name).__doc__.strip().split("\n")[0]
        assert documented.startswith(f"{name}(")
        names = [
            part.partition("=")[0].strip(" *") for part in documented[len(name) + 1 : -1].split(",")
        ]
        found = list(inspect.signature(ours).parameters)[1:]
        if name not in ("rand", "randn"):
            assert found == names


def test_pythons_and_numpys_own_functions_are_back_after_close(random):
    own = python_random.uniform, np.random.uniform
    with random.active():
        assert python_random.uniform is not own[0]
        np.random.seed(0)  # no draw
        python_random.seed(0)
    python_random.uniform(0, 1)  # not in a step: nobody's business
    random.close()
    assert (python_random.uniform, np.random.uniform) == own
    assert random.unattributed == {}
