"""What is copied, what is shared, and where the error says that something can't be."""

import collections
import dataclasses
import enum
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdstep.errors import UncopyableValueError
from holdstep.wrappers.pipeline.snapshots import snapshot


class Kind(enum.Enum):
    ARM = 1


@dataclasses.dataclass(frozen=True)
class Pose:
    position: np.ndarray
    kind: Kind = Kind.ARM


@dataclasses.dataclass
class Slotted:
    __slots__ = ("values",)
    values: list


class Opaque:
    def __init__(self, value):
        self.value = value

    def create_snapshot(self):
        return Opaque(list(self.value))


Named = collections.namedtuple("Named", "a b")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(value=values)
def test_plain_values_are_equal_and_containers_are_new(value):
    copied = snapshot(value, "value")
    assert copied == value
    assert type(copied) is type(value)
    if isinstance(value, list | dict):
        assert copied is not value


def test_nothing_that_can_be_written_to_is_shared():
    value = {
        "tensor": torch.zeros(2, requires_grad=True),
        "array": np.zeros(2),
        "pose": Pose(np.zeros(3)),
        "slotted": Slotted([1]),
        "named": Named(np.zeros(1), [2]),
        "opaque": Opaque([1]),
        "set": {1, 2},
        "counts": collections.defaultdict(list, a=[1]),
        "path": Path("a"),
        "dtype": torch.float32,
    }
    copied = snapshot(value, "value")
    with torch.no_grad():
        value["tensor"] += 1
    value["array"] += 1
    value["pose"].position[0] = 1
    value["slotted"].values.append(2)
    value["named"].a[0] = 1
    value["named"].b.append(3)
    value["opaque"].value.append(2)
    value["set"].add(3)
    value["counts"]["a"].append(2)
    assert copied["tensor"].tolist() == [0, 0]
    assert not copied["tensor"].requires_grad
    assert copied["array"].tolist() == [0, 0]
    assert copied["pose"].position.tolist() == [0, 0, 0]
    assert copied["pose"].kind is Kind.ARM
    assert copied["slotted"].values == [1]
    assert isinstance(copied["named"], Named)
    assert copied["named"].a.tolist() == [0]
    assert copied["named"].b == [2]
    assert copied["opaque"].value == [1]
    assert copied["set"] == {1, 2}
    assert copied["counts"] == {"a": [1]}
    assert copied["dtype"] is torch.float32


def test_arrays_of_other_libraries_become_tensors():
    class Foreign:
        def __init__(self, tensor):
            self.tensor = tensor

        def __dlpack__(self, **kwargs):
            return self.tensor.__dlpack__()

        def __dlpack_device__(self):
            return self.tensor.__dlpack_device__()

    source = torch.zeros(2)
    copied = snapshot(Foreign(source), "value")
    source += 1
    assert copied.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        (io.StringIO(), "inputs", "StringIO"),
        ({"a": [0, (1, object())]}, "inputs['a'][1][1]", "object"),
        ({"a": Pose(io.StringIO())}, "inputs['a'].position", "StringIO"),
        ([lambda: 0], "inputs[0]", "function"),
        (np.array([object()]), "inputs", "array of objects"),
        ({"a": Opaque}, "inputs['a']", "type"),
        ({frozenset({io}): 1}, "a key of inputs[0]", "module"),
    ],
)
def test_what_cannot_be_copied_is_found(value, path, kind):
    with pytest.raises(UncopyableValueError, match=kind) as caught:
        snapshot(value, "inputs")
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path} is ")
    assert "create_snapshot()" in str(caught.value)


def test_what_contains_itself_is_found_and_what_occurs_twice_is_not():
    value = {"a": []}
    value["a"].append(value)
    with pytest.raises(UncopyableValueError, match=r"inputs\['a'\]\[0\] contains itself"):
        snapshot(value, "inputs")
    twice = [1]
    assert snapshot([twice, twice], "inputs") == [[1], [1]]


def test_a_copy_made_in_inference_mode_is_a_normal_tensor():
    with torch.inference_mode():
        copied = snapshot(torch.zeros(2), "value")
    assert not copied.is_inference()
