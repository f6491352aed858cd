"""What is preserved is put back, whatever was done to it."""

import random
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdstep.envs.adapters.preserve import preserved
from holdstep.envs.adapters.preserve_rows import preserved_rows

CPU = torch.device("cpu")


class CircularBuffer:
    """Isaac Lab 2.3's history: one pointer for all rows."""

    __module__ = "isaaclab.utils.buffers.circular_buffer"

    def __init__(self, length, num_envs):
        self._buffer = torch.zeros(length, num_envs, 1)
        self._num_pushes = torch.zeros(num_envs, dtype=torch.int64)
        self._pointer = -1

    def append(self, data):
        self._pointer = (self._pointer + 1) % len(self._buffer)
        self._buffer[self._pointer] = data
        first = self._num_pushes == 0
        self._buffer[:, first] = data[first]
        self._num_pushes += 1

    def reset(self, rows):
        self._num_pushes[rows] = 0

    @property
    def ordered(self):
        return torch.roll(self._buffer, -self._pointer - 1, dims=0).squeeze(-1).T


class RolledBuffer(CircularBuffer):
    """Isaac Lab 3's: a new tensor with each entry."""

    def append(self, data):
        self._buffer = torch.roll(self._buffer, -1, dims=0)
        self._buffer[-1] = data
        first = self._num_pushes == 0
        self._buffer[:, first] = data[first]
        self._num_pushes += 1


def make_owner():
    shared = torch.zeros(2)
    return SimpleNamespace(
        tensor=torch.zeros(3),
        expanded=torch.zeros(1).expand(3),
        array=np.zeros(3),
        count=1,
        nothing=None,
        by_name={"a": torch.zeros(2), "nested": {"b": shared}},
        queue=deque([torch.zeros(1)], maxlen=2),
        items=[torch.zeros(1), 5],
        pair=(torch.zeros(1), shared),
        buffer=CircularBuffer(2, 3),
        generator=torch.Generator().manual_seed(1),
        env=SimpleNamespace(shared=torch.zeros(1)),
    )


def spoil(owner):
    owner.tensor.fill_(1.0)
    owner.tensor = torch.ones(5)
    owner.array[:] = 1.0
    owner.count = 2
    owner.nothing = torch.ones(1)
    owner.by_name["a"].fill_(1.0)
    owner.by_name["nested"]["b"].fill_(1.0)
    owner.by_name["new"] = 1
    owner.by_name = {}
    owner.queue.append(torch.ones(1))
    owner.queue.append(torch.ones(1))
    owner.items[0].fill_(1.0)
    owner.items.append(7)
    owner.pair[0].fill_(1.0)
    owner.buffer.append(torch.ones(3, 1))
    torch.rand(1, generator=owner.generator)
    owner.added = 1
    del owner.env


def test_everything_an_owner_holds_is_put_back():
    owner, expected = make_owner(), make_owner()
    originals = dict(vars(owner))
    env = owner.env
    with preserved([owner], CPU, num_envs=3):
        spoil(owner)
        env.shared.fill_(1.0)
    assert vars(owner).keys() == originals.keys()
    assert all(vars(owner)[name] is value for name, value in originals.items())
    assert owner.tensor.tolist() == expected.tensor.tolist()
    assert owner.array.tolist() == expected.array.tolist()
    assert owner.by_name.keys() == expected.by_name.keys()
    assert not owner.by_name["a"].any()
    assert not owner.by_name["nested"]["b"].any()
    assert [item.tolist() for item in owner.queue] == [[0.0]]
    assert owner.items == [owner.items[0], 5]
    assert not owner.items[0].any()
    assert not owner.pair[0].any()
    assert owner.buffer._pointer == -1
    assert not owner.buffer._num_pushes.any()
    assert torch.equal(owner.generator.get_state(), expected.generator.get_state())
    assert env.shared.tolist() == [1.0]  # what an owner only points to is not its state


def test_global_generators_are_put_back_also_after_an_error():
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()

    def draw_and_fail():
        torch.rand(1), np.random.rand(), random.random()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), preserved([], CPU, num_envs=3):
        draw_and_fail()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert random.getstate() == states[2]


@given(
    kind=st.sampled_from([CircularBuffer, RolledBuffer]),
    length=st.integers(1, 4),
    num_before=st.integers(1, 9),
    num_after=st.integers(0, 6),
    reset=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_a_history_of_the_other_rows_goes_on_as_if_nothing_had_happened(
    kind, length, num_before, num_after, reset
):
    """Against a history that rows were reset in without a new entry for the others."""
    mask = torch.tensor(reset)
    reset_rows, others = mask.nonzero().squeeze(-1), (~mask).nonzero().squeeze(-1)
    buffer, untouched = kind(length, 4), kind(length, 4)
    time = 0.0

    def push(*histories):
        nonlocal time
        time += 1.0
        for history in histories:
            history.append(torch.full((4, 1), time) + torch.arange(4.0)[:, None] / 10)

    for _ in range(num_before):
        push(buffer, untouched)
    with preserved_rows([buffer], others, num_envs=4):
        buffer.reset(reset_rows)
        push(buffer)
    first = time
    for _ in range(num_after):
        push(buffer, untouched)
    assert torch.equal(buffer.ordered[others], untouched.ordered[others])
    assert torch.equal(buffer._num_pushes[others], untouched._num_pushes[others])
    assert (buffer.ordered[reset_rows] >= first).all()
    assert (buffer._num_pushes[reset_rows] == 1 + num_after).all()


def test_rows_of_rebound_and_nested_tensors_are_put_back():
    owner = SimpleNamespace(
        values=torch.zeros(3, 2),
        nested={"a": torch.zeros(3), "count": 1},
        items=[torch.zeros(3)],
        of_all=torch.zeros(7),
        expanded=torch.zeros(1).expand(3),
    )
    with preserved_rows([owner], torch.tensor([0, 2]), num_envs=3):
        owner.values = owner.values + 1
        owner.nested["a"] += 1
        owner.nested["count"] = 2
        owner.items[0] = owner.items[0] + 1
        owner.of_all += 1
    assert owner.values.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert owner.nested["a"].tolist() == [0, 1, 0]
    assert owner.nested["count"] == 1
    assert owner.items[0].tolist() == [0, 1, 0]
    assert owner.of_all.tolist() == [1] * 7


class LowPass:
    """What somebody writes for an observation term: state of rows, and a table of another size."""

    def __init__(self):
        self.rows = torch.zeros(3, 2)
        self.ring = np.zeros((2, 3))
        self.num_calls = 0
        self.table = torch.zeros(7)
        self.data = [0] * 1000
        self.inner = SimpleNamespace(rows=torch.zeros(3))  # of another package

    def advance(self):
        self.rows += 1
        self.ring[:] = 1
        self.num_calls += 1
        self.table += 1
        self.data.append(1)
        self.inner.rows += 1


class Nested(LowPass):
    """One with another one inside."""

    def __init__(self):
        super().__init__()
        self.of_joints = {"left": LowPass(), "right": [LowPass()]}

    def advance(self):
        super().advance()
        self.of_joints["left"].advance()
        self.of_joints["right"][0].advance()


class Term:
    """An observation term of somebody's own, which points to the env as all do."""

    def __init__(self, env, filter):
        self.env = env
        self.filter = filter


class Simulator(LowPass):
    """An env, which is of the simulator's package as well as of the term's."""

    __module__ = "mjlab.envs"


class OwnEnv(Simulator):
    """A subclass of somebody's own."""


@pytest.mark.parametrize("kind", [LowPass, Nested])
def test_objects_of_an_owners_own_package_are_the_owners(kind):
    for env in (Simulator(), OwnEnv()):
        term = Term(env, kind())
        with preserved([term], CPU, num_envs=3):
            env.advance()
            term.filter.advance()
        filters = [term.filter]
        if kind is Nested:
            filters += [term.filter.of_joints["left"], *term.filter.of_joints["right"]]
        for own in filters:
            assert not own.rows.any()
            assert not own.ring.any()
            assert own.num_calls == 0
            # Large ones of other sizes would take long to copy.
            assert own.table.all()
            assert len(own.data) == 1001
            assert own.inner.rows.all()
        assert env.rows.all()
        assert env.num_calls == 1


class Entity:
    """What terms and managers of a simulator share."""

    __module__ = "mjlab.entity"

    def __init__(self):
        self.rows = torch.zeros(3)


class Manager(Entity):
    __module__ = "mjlab.managers"


def test_objects_of_the_simulators_package_are_shared():
    manager = Manager()
    manager.entity = Entity()
    for block in (
        preserved([manager], CPU, num_envs=3),
        preserved_rows([manager], torch.tensor([0, 2]), num_envs=3),
    ):
        with block:
            manager.rows += 1
            manager.entity.rows += 1
    assert manager.rows.tolist() == [0, 1, 0]
    assert manager.entity.rows.tolist() == [2, 2, 2]


def test_rows_in_objects_of_an_owners_own_package_are_put_back():
    term = Term(Simulator(), Nested())
    with preserved_rows([term], torch.tensor([0, 2]), num_envs=3):
        term.env.advance()
        term.filter.advance()
    for own in (term.filter, term.filter.of_joints["left"]):
        assert own.rows.tolist() == [[0, 0], [1, 1], [0, 0]]
        assert own.num_calls == 0
    assert term.env.rows.all()
