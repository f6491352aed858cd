"""Per-env random numbers: whose a draw is, and that torch is left as it was."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Iterator

import pytest
import torch

from holdstep.envs.state.per_env_random import PerEnvRandom, UnattributedDrawWarning
from holdstep.envs.state.random_functions import FUNCTIONS
from holdstep.envs.state.random_loops import LOOPS
from holdstep.envs.state.random_methods import LOOKUPS, METHODS
from holdstep.envs.state.rng import PerEnvRng

N = 5


@pytest.fixture
def random() -> Iterator[PerEnvRandom]:
    made = PerEnvRandom(N, "cpu", 7, engine="torch")
    yield made
    made.close()


def expected(rows: list[int], *, start: int = 0, num: int = 4) -> torch.Tensor:
    """What the reference generator gives these rows."""
    rng = PerEnvRng(N, "cpu", 7)
    rng.counter[:] = start
    return rng.uniform(num)[rows]


BUILTINS = {name: getattr(torch, name) for name in (*FUNCTIONS, *LOOKUPS)}


ITERATE = torch.Tensor.__iter__  # which is not inherited


def torch_is_itself() -> bool:
    functions = all(getattr(torch, name) is builtin for name, builtin in BUILTINS.items())
    methods = not any(name in vars(torch.Tensor) for name in METHODS | LOOPS if name != "__iter__")
    return functions and methods and torch.Tensor.__iter__ is ITERATE


def test_all_rows_draw_from_their_own_streams(random):
    with random.active():
        assert torch.equal(torch.rand(N, 4), expected([0, 1, 2, 3, 4]))
    assert random.counter.tolist() == [4] * N
    assert random.num_draws == 1


@pytest.mark.parametrize(
    "env_ids",
    [
        torch.tensor([3, 1]),
        torch.tensor([3, 1], dtype=torch.int32),
        [3, 1],
        torch.tensor([[3], [1]]),
        slice(3, None, -2),
    ],
)
def test_a_draw_inside_rows_is_theirs(random, env_ids):
    with random.active(), random.rows(env_ids):
        assert torch.equal(torch.rand(2, 4), expected([3, 1]))
    assert random.counter.tolist() == [0, 4, 0, 4, 0]


def test_a_mask_names_rows(random):
    mask = torch.tensor([False, True, False, True, False])
    with random.active(), random.rows(mask):
        assert torch.equal(torch.empty(2, 4).uniform_(), expected([1, 3]))


@pytest.mark.parametrize("env_ids", [None, slice(None)])
def test_all_rows_by_another_name(random, env_ids):
    with random.active(), random.rows(env_ids):
        assert torch.equal(torch.rand(N, 4), expected([0, 1, 2, 3, 4]))
    assert random.counter.tolist() == [4] * N


def test_all_rows_in_another_order(random):
    with random.active(), random.rows([4, 3, 2, 1, 0]):
        assert torch.equal(torch.rand(N, 4), expected([4, 3, 2, 1, 0]))


def test_a_draw_for_all_rows_inside_rows_does_not_move_the_others(random):
    with random.active(), random.rows([2]):
        drawn = torch.rand(N, 4)
        assert torch.equal(drawn, expected([0, 1, 2, 3, 4]))
    assert random.counter.tolist() == [0, 0, 4, 0, 0]


def test_no_rows_draw_nothing(random):
    with random.active(), random.rows(torch.empty(0, dtype=torch.int64)):
        assert torch.rand(0, 4).shape == (0, 4)
        assert torch.empty(0).uniform_().shape == (0,)
    assert random.counter.tolist() == [0] * N
    assert not random.unattributed


def test_rows_that_are_looked_up_are_followed(random):
    mask = torch.tensor([True, False, False, True, True])
    with random.active(), random.rows(None):
        ids = mask.nonzero().flatten()
        assert torch.equal(torch.rand(len(ids), 4), expected([0, 3, 4]))
        ids = torch.where(~mask)[0]
        assert torch.equal(torch.rand(len(ids), 4), expected([1, 2]))
    assert not random.unattributed


def test_a_lookup_ends_with_the_function_that_made_it(random):
    def looks_up() -> None:
        torch.tensor([True, False, False, True, True]).nonzero()

    with random.active(), random.rows(None):
        looks_up()
        with pytest.warns(UnattributedDrawWarning):
            torch.rand(3)
    assert random.counter.tolist() == [0] * N


def test_a_lookup_ends_with_an_inner_scope(random):
    with random.active(), random.rows(None):
        torch.tensor([True, False, False, True, True]).nonzero()
        with random.rows([1]):
            pass
        with pytest.warns(UnattributedDrawWarning):
            torch.rand(3)


def test_lookups_outside_rows_are_not_followed(random):
    with random.active():
        torch.tensor([True, False, False, True, True]).nonzero()
        with pytest.warns(UnattributedDrawWarning):
            torch.rand(3)


def test_lookups_that_are_not_over_rows_are_not_followed(random):
    with random.active(), random.rows(None):
        assert torch.where(torch.tensor(True))[0].tolist() == [0]
        torch.ones(N, 2).nonzero()
        torch.where(torch.ones(N + 1))
        with pytest.warns(UnattributedDrawWarning):
            torch.rand(1)


def test_inner_rows_win(random):
    with random.active(), random.rows([0, 1]):
        with random.rows([3]):
            torch.rand(1, 2)
        torch.rand(2, 3)
    assert random.counter.tolist() == [3, 3, 0, 2, 0]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (3, N), (N * 2,)])
def test_what_belongs_to_no_row_is_shared_and_reported_once_a_place(random, shape):
    with random.active(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first, second = (torch.rand(shape) for _ in range(2))
    assert random.counter.tolist() == [0] * N
    assert [warning.category for warning in caught] == [UnattributedDrawWarning]
    (place,) = random.unattributed
    assert "test_per_env_random.py" in place
    assert random.unattributed[place] == 2
    assert not torch.equal(first, second)


@pytest.mark.filterwarnings("ignore::holdstep.envs.state.per_env_random.UnattributedDrawWarning")
def test_the_shared_stream_does_not_depend_on_rows(random):
    other = PerEnvRandom(N, "cpu", 7, engine="torch")
    with random.active():
        torch.rand(N)
        with random.rows([2]):
            torch.rand(1, 3)
        shared = torch.rand(2, 3)
    with other.active():
        assert torch.equal(torch.rand(2, 3), shared)
        assert sorted(torch.randperm(10).tolist()) == list(range(10))


def test_a_row_is_independent_of_what_others_draw(random):
    other = PerEnvRandom(N, "cpu", 7, engine="torch")
    drawn: dict[PerEnvRandom, list[torch.Tensor]] = {random: [], other: []}
    for step in range(20):
        for source in (random, other):
            with source.active():
                drawn[source].append(torch.randn(N, 3)[4])
                if source is other and step % 3 == 0:
                    with source.rows([0, 2, 3]):
                        torch.rand(3, step + 1)
                if step % 5 == 0:
                    with source.rows([4, 1] if source is other else [4]):
                        drawn[source].append(torch.rand(2 if source is other else 1, 2)[0])
    assert all(torch.equal(*pair) for pair in zip(drawn[random], drawn[other], strict=True))
    assert random.counter[4] == other.counter[4]
    assert random.counter[0] != other.counter[0]


def test_counters_put_back_repeat_the_numbers(random):
    with random.active():
        torch.randn(N, 3)
        kept = random.counter.clone()
        first = [torch.rand(N, 2), torch.randint(0, 9, (N,)), torch.randn(N)]
        random.counter[2] = kept[2]
        again = [torch.rand(N, 2), torch.randint(0, 9, (N,)), torch.randn(N)]
    for before, after in zip(first, again, strict=True):
        assert torch.equal(before[2], after[2])
    assert not torch.equal(first[0][1], again[0][1])


@pytest.mark.filterwarnings("ignore::holdstep.envs.state.per_env_random.UnattributedDrawWarning")
def test_preserved(random):
    with random.active():
        with random.preserved():
            first = torch.rand(N), torch.rand(3)
        assert torch.equal(torch.rand(N), first[0])
        assert torch.equal(torch.rand(3), first[1])


def test_reseed(random):
    other = PerEnvRandom(N, "cpu", 8, engine="torch")
    with other.active():
        torch.rand(N, 9)
    other.reseed(7)
    assert torch.equal(other.key, random.key)
    assert other.counter.tolist() == [0] * N
    other.reseed(3, [1])
    same = (other.key == random.key).tolist()
    assert same == [True, False, True, True, True]


@pytest.mark.parametrize("how", ["leave", "raise"])
def test_torch_is_given_back(random, how):
    gc.collect()  # earlier tests' objects that were not closed give it back when they are collected
    assert torch_is_itself()
    other = PerEnvRandom(N, "cpu", 7, engine="torch")
    try:
        with random.active(), random.active(), other.active():
            if how == "raise":
                raise KeyError
    except KeyError:
        pass
    state = torch.get_rng_state()
    torch.rand(N)
    torch.empty(N).uniform_()
    assert not torch.equal(state, torch.get_rng_state())
    assert random.counter.sum() == other.counter.sum() == 0
    random.close()
    random.close()
    assert not torch_is_itself()  # the other may go on
    with other.active():
        torch.rand(N)
    assert other.num_draws == 1
    other.close()
    assert torch_is_itself()


def test_torch_is_given_back_by_one_that_nobody_closed():
    made = PerEnvRandom(N, "cpu", 7, engine="torch")
    with made.active():
        torch.rand(N)
    del made
    gc.collect()
    assert torch_is_itself()


def test_one_that_was_closed_can_be_active_again(random):
    with random.active():
        first = torch.rand(N)
    random.close()
    random.reseed(7)
    with random.active():
        assert torch.equal(torch.rand(N), first)


def in_a_thread(function) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_other_threads_draw_from_torch(random):
    drawn = []

    def draw() -> None:
        drawn.append(torch.rand(N))
        drawn.append(torch.empty(N).uniform_())

    torch.manual_seed(0)
    wanted = torch.rand(N), torch.empty(N).uniform_()
    torch.manual_seed(0)
    with pytest.warns(UnattributedDrawWarning, match="another thread"), random.active():
        in_a_thread(draw)
    assert all(torch.equal(*pair) for pair in zip(drawn, wanted, strict=True))
    assert random.counter.tolist() == [0] * N


def test_two_threads_with_an_env_each():
    sources = [PerEnvRandom(N, "cpu", 7, engine="torch") for _ in range(2)]
    both_inside = threading.Barrier(2)
    one_is_out = threading.Event()
    drawn: dict[int, torch.Tensor] = {}

    def run(index: int) -> None:
        with sources[index].active():
            both_inside.wait()
            if index == 1:
                one_is_out.wait()
            drawn[index] = torch.rand(N, 4)
        one_is_out.set()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(drawn[0], expected([0, 1, 2, 3, 4]))
    assert torch.equal(drawn[1], drawn[0])
    for source in sources:
        source.close()
    assert torch_is_itself()


def test_functions_that_others_replaced_are_left_alone(random, monkeypatch):
    monkeypatch.setattr(torch, "randperm", lambda n: "somebody's")
    with random.active():
        assert torch.randperm(3) == "somebody's"
    random.close()
    assert torch.randperm(3) == "somebody's"


def test_a_generator_of_the_callers_own_is_left_alone(random):
    def draw() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(3)
        return [
            torch.rand(N, generator=generator),
            torch.randn(N, generator=generator),
            torch.randint(0, 9, (N,), generator=generator),
            torch.randperm(N, generator=generator),
            torch.normal(0.0, 1.0, (N,), generator=generator),
            torch.bernoulli(torch.full((N,), 0.5), generator=generator),
            torch.multinomial(torch.ones(N), 2, generator=generator),
            torch.empty(N).uniform_(generator=generator),
            torch.empty(N).normal_(generator=generator),
            torch.empty(N).random_(generator=generator),
            torch.empty(N).exponential_(generator=generator),
            torch.empty(N).bernoulli_(0.3, generator=generator),
        ]

    wanted = draw()
    with random.active():
        got = draw()
    assert all(torch.equal(*pair) for pair in zip(got, wanted, strict=True))
    assert random.counter.tolist() == [0] * N


def test_what_cannot_be_redirected_is_noticed(random):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.CompilationUnit("def f(n: int):\n    return torch.rand([n])\n").f
    with pytest.warns(UnattributedDrawWarning, match="compiled code"), random.active():
        scripted(N)
    assert random.missed


def test_seeding_is_no_missed_draw(random):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with random.active():
            random.global_state_may_change()
            torch.manual_seed(3)
    with pytest.warns(UnattributedDrawWarning), random.active():
        torch.manual_seed(4)


def test_complex_numbers_are_left_to_torch(random):
    with random.active(), pytest.warns(UnattributedDrawWarning, match="global stream"):
        assert torch.randn(N, dtype=torch.complex64).is_complex()
    assert not random.missed


def test_rows_outside_active_are_nothing(random):
    with random.rows([1]):
        torch.rand(1)
    assert random.counter.tolist() == [0] * N
