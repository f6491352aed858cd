"""Interception, isolation and the watch: what is seen, and that nothing of it stays."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict, deque
from typing import NamedTuple

import pytest
import torch
from torch.utils._pytree import tree_leaves

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.proxies.interception import (
    Interception,
    real_attribute,
    real_class,
)
from holdstep.wrappers.export.proxies.isolation import Holder, Isolation
from holdstep.wrappers.export.proxies.owners import TensorArray, unwrapped
from holdstep.wrappers.export.proxies.unscript import ScriptedFunctions
from holdstep.wrappers.export.proxies.watch import Watch


class Thing:
    """An object with an attribute, a property, and attributes made up when they are asked for."""

    def __init__(self):
        self.value = 1

    @property
    def twice(self):
        return 2 * self.value

    def __getattr__(self, name):
        if name == "made_up":
            return "made up"
        raise AttributeError(name)


class Slotted:
    __slots__ = ("value",)


class Recorder:
    """Notes what is read, and answers as the objects themselves would."""

    def __init__(self):
        self.reads, self.sets = [], []

    def read(self, obj, name):
        self.reads.append(name)
        return real_attribute(obj, name)

    def assign(self, obj, name, value):
        self.sets.append(name)


def test_reads_are_seen_also_inside_properties():
    thing, recorder = Thing(), Recorder()
    with Interception(recorder).of([thing]):
        assert thing.twice == 2
        assert thing.made_up == "made up"
        thing.value = 5
        assert isinstance(thing, Thing)
        assert real_class(thing) is Thing
        with pytest.raises(AttributeError):
            _ = thing.missing
    assert recorder.reads == ["twice", "value", "made_up", "missing"]
    assert recorder.sets == ["value"]
    assert type(thing) is Thing
    assert vars(thing) == {"value": 1}


def test_classes_come_back_after_an_error():
    thing = Thing()
    with pytest.raises(KeyboardInterrupt), Interception(Recorder()).of([thing]):
        raise KeyboardInterrupt
    assert type(thing) is Thing


def test_objects_with_slots_and_the_same_object_twice():
    slotted, recorder = Slotted(), Recorder()
    slotted.value = 3
    interception = Interception(recorder)
    with interception.of([slotted, slotted]):
        interception.add(slotted)
        assert slotted.value == 3
    assert type(slotted) is Slotted
    assert recorder.reads == ["value"]


def test_other_threads_and_pauses_are_not_intercepted():
    thing, recorder = Thing(), Recorder()
    interception = Interception(recorder)
    with interception.of([thing]):
        thread = threading.Thread(target=lambda: thing.twice)
        thread.start()
        thread.join()
        with interception.paused():
            assert thing.twice == 2
    assert recorder.reads == []


class Term:
    def __init__(self, env):
        self.env = env
        self.value = torch.zeros(3)
        self.same = self.value
        self.table = {"a": [torch.ones(3)], "n": 4}
        self.part = type("Part", (), {})()
        self.part.state = torch.full((3,), 7.0)


def test_a_term_runs_on_copies():
    env = Thing()
    term = Term(env)
    attributes, part = vars(term), vars(term.part)
    isolation = Isolation([Holder("t", term)], [env])
    paths = []

    def copy(path, tensor):
        paths.append(path)
        return tensor.clone()

    with isolation.substituted(copy):
        term.value += 1.0
        term.part.state = term.part.state * 2.0
        term.table["a"][0].mul_(9.0)
        term.table["n"] = 5
        term.extra = torch.ones(1)
        kept = isolation.kept()
        assert kept.scalars["t.table['n']"] == 5
        assert kept.tensors["t.part.state"][0] == 14.0
        assert "t.extra" in kept.tensors
        assert term.env is env
    assert vars(term) is attributes
    assert vars(term.part) is part
    assert term.value.sum() == 0
    assert term.same is term.value
    assert term.part.state[0] == 7.0
    assert term.table["a"][0][0] == 1.0
    assert not hasattr(term, "extra")
    assert set(paths) == {"t.value", "t.same", "t.table['a'][0]", "t.part.state"}


class Pair(NamedTuple):
    first: torch.Tensor
    second: int


class Own(list):
    """Somebody's own container, of which no copy can be made."""

    def __copy__(self):
        raise RuntimeError("one of a kind")


def containers():
    return {
        "deque": deque([torch.zeros(3)], maxlen=2),
        "ordered": OrderedDict(a=torch.zeros(3)),
        "default": defaultdict(list, a=[torch.zeros(3)]),
        "pair": Pair(torch.zeros(3), 5),
        "set": {torch.zeros(3)},
    }


def test_containers_of_every_kind_are_copied():
    term = Term(Thing())
    vars(term).update(containers())
    own = {name: vars(term)[name] for name in containers()}
    isolation = Isolation([Holder("t", term)], [])
    with isolation.substituted(lambda path, tensor: tensor.clone()):
        for name, container in own.items():
            assert type(vars(term)[name]) is type(container)
        for _ in range(3):
            term.deque.append(torch.ones(3))
        term.ordered["b"] = term.ordered["a"].add_(1.0)
        term.default["new"].append(term.default["a"].pop().add_(1.0))
        term.pair.first.add_(1.0)
        term.set.pop().add_(1.0)
        kept = isolation.kept()
        assert {path: tensor[0] for path, tensor in kept.tensors.items() if "deque" in path} == {
            "t.deque[0]": 1.0,
            "t.deque[1]": 1.0,
        }
        assert kept.tensors["t.default['new'][0]"][0] == 1.0
        assert term.pair.second == kept.scalars["t.pair[1]"] == 5
    for name, container in own.items():
        assert vars(term)[name] is container
    tensors = [leaf for leaf in tree_leaves(list(own.values())) if isinstance(leaf, torch.Tensor)]
    assert len(tensors) + len(own["set"]) == 5
    assert not any(tensor.any() for tensor in (*tensors, *own["set"]))


def test_a_container_that_can_not_be_copied_is_refused_by_name():
    term = Term(Thing())
    term.own = Own([torch.zeros(3)])
    attributes, isolation = vars(term), Isolation([Holder("obs:actor/x", term)], [])
    with (
        pytest.raises(DiscoveryError, match=r"obs:actor/x\.own is a Own.*one of a kind"),
        isolation.substituted(lambda path, tensor: tensor.clone()),
    ):
        pass
    assert vars(term) is attributes


def test_copies_go_also_after_an_error():
    term = Term(Thing())
    attributes = vars(term)
    calls = []

    def fail(path, tensor):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return tensor

    isolation = Isolation([Holder("t", term)], [])
    with pytest.raises(KeyboardInterrupt), isolation.substituted(fail):
        pass
    assert vars(term) is attributes


@pytest.fixture
def watch():
    watch = Watch()
    with watch:
        watch.term = "term"
        yield watch


def declared(watch, *sources, shape=(3,)):
    with watch.off():
        tensor = torch.ones(shape)
    return watch.declare(tensor, *sources)


def test_results_know_what_they_were_computed_from(watch):
    a, b = declared(watch, "a"), declared(watch, "b")
    c = torch.cat([a * 2, b.exp()])
    assert watch.sources(c) == {"a", "b"}
    assert watch.sources(a + 1) == {"a"}
    assert watch.sources(torch.zeros(3)) == set()
    assert watch.sources(torch.where(a > 0, b, b)) == {"a", "b"}


def test_views_and_writes_through_them(watch):
    a, b = declared(watch, "a", shape=(3, 3)), declared(watch, "b")
    buffer = torch.zeros(3, 3)
    buffer.diagonal().add_(b)
    assert watch.sources(buffer) == {"b"}
    buffer[0] = a[0]
    assert watch.sources(buffer) == {"a", "b"}
    buffer[:] = a
    assert watch.sources(buffer) == {"a"}
    buffer[...] = 1.0
    assert watch.sources(buffer) == set()
    buffer[:, :1] *= b[:1]
    assert watch.sources(buffer) == {"b"}
    out = torch.zeros(3)
    torch.add(b, 1.0, out=out)
    assert watch.sources(out) == {"b"}


def test_undeclared_tensors_are_leaves(watch):
    with watch.off():
        outside = torch.ones(3)
    result = outside * 2
    (leaf,) = watch.leaves.values()
    assert leaf.tensor is outside
    assert leaf.term == "term"
    assert leaf.where.startswith("test_proxies.py:")
    assert watch.sources(result) == {leaf.name}


@pytest.mark.parametrize(
    "read",
    [
        lambda t: t.sum().item(),
        lambda t: bool((t > 0).all()),
        lambda t: t.tolist(),
        lambda t: float(t[0]),
        lambda t: int(t[0]),
        lambda t: t.numpy(),
        lambda t: t[t > 0],
        lambda t: t.nonzero(),
        lambda t: torch.equal(t, t),
        lambda t: 1.0 in t,
        lambda t: [0, 1, 2][t[0].long()],
        lambda t: torch.where(t > 0)[0],
        lambda t: torch.where(condition=t > 0),
        lambda t: torch.is_nonzero(t[0]),
        lambda t: t[0].is_nonzero(),
        lambda t: torch.repeat_interleave(t, t.long()),
        lambda t: t.repeat_interleave(repeats=t.long()),
    ],
)
def test_values_that_leave_for_python_are_seen(watch, read):
    read(declared(watch, "a"))
    assert watch.host_reads
    assert watch.host_reads[0].sources == {"a"}
    assert watch.host_reads[0].where.startswith("test_proxies.py:")


def test_sizes_and_types_are_no_values(watch):
    tensor = declared(watch, "a")
    assert tensor.shape == (3,)
    assert len(tensor) == 3
    assert tensor.dtype is torch.float32
    assert tensor.dim() == tensor.ndim == 1
    list(tensor)
    torch.where(tensor > 0, tensor, -tensor)
    (tensor > 0).where(tensor > 0, tensor)
    tensor.repeat_interleave(2)
    assert not watch.host_reads


def test_random_numbers_are_sources(watch):
    drawn = torch.rand(3)
    buffer = torch.zeros(3)
    buffer.uniform_()
    (first, second) = watch.random_draws
    assert watch.sources(drawn + 1) == {first}
    assert watch.sources(buffer) == {second}


def test_scripted_functions_come_back():
    math = pytest.importorskip("mjlab.utils.lab_api.math", reason="mjlab is not installed")
    scripted = math.quat_mul
    functions = ScriptedFunctions()
    assert len(functions) > 20
    with functions.as_python():
        assert not isinstance(math.quat_mul, torch.jit.ScriptFunction)
        quat = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
        assert torch.equal(math.quat_mul(quat, quat), quat)
    assert math.quat_mul is scripted
    with pytest.raises(KeyboardInterrupt), functions.as_python():
        raise KeyboardInterrupt
    assert math.quat_mul is scripted


def test_arrays_of_simulators_are_looked_into():
    tensor = torch.arange(4.0)
    assert unwrapped(tensor)[0] is tensor
    assert unwrapped("text")[0] is None
    array = TensorArray(tensor)
    assert array.torch is tensor
    assert array.shape == (4,)
    assert len(array) == 4
    assert array[1] == 1.0
    assert torch.equal(torch.add(array, 1.0), tensor + 1)
    with pytest.raises(AttributeError):
        _ = array.warp
