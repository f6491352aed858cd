"""Values of YAML turned into what classes of isaacteleop take."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from holdstep.documents.problems import Place, Problem, shown, value_problems
from holdstep.errors import nearest_names
from holdstep.policies.teleop.session.config import load_teleop

_SCALARS = (bool, int, float, str)


class OptionValues:
    """Reads values by the types that they should have.

    Args:
        problems: get those that are found.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._group_class = load_teleop("retargeting_engine.interface").TensorGroupType
        self._vendor_class = load_teleop("deviceio").TrackerVendor

    def read(self, kind: Any, value: Any, place: Place) -> Any:
        """The value; None, with a problem noted, where it does not fit.

        Args:
            kind: a type as it is annotated: numbers, texts, ``Literal``, enums (by value), lists,
                tuples, mappings from text, arrays, paths, dataclasses, tensor groups, unions of
                such; Any takes what is there.
            value: plain data.
            place: where it is.
        """
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if kind is Any:
            return value
        if origin in (types.UnionType, typing.Union):
            return self._union(args, value, place)
        if kind in _SCALARS or origin is Literal:
            self._problems += value_problems(kind, value, place)
            return float(value) if kind is float and type(value) is int else value
        container: Any = origin or kind
        if not isinstance(container, type):
            return self._none_can_be_written(kind, place)
        if issubclass(container, np.ndarray):
            return self._array(value, place)
        if issubclass(container, Mapping):
            return self._mapping(args[1] if args else Any, value, place)
        if issubclass(container, Sequence):
            return self._sequence(container, args, value, place)
        return self._instance(container, value, place)

    def _instance(self, cls: Any, value: Any, place: Place) -> Any:
        if dataclasses.is_dataclass(cls):
            return self._dataclass(cls, value, place)
        if issubclass(cls, enum.Enum):
            return self._one_of({str(member.value): member for member in cls}, value, place)
        if cls is self._group_class:
            return self._group(value, place)
        if cls in (Path, self._vendor_class):
            text = self.read(str, value, place)
            return cls(text) if isinstance(text, str) else None
        return self._none_can_be_written(cls, place)

    def _union(self, kinds: tuple[Any, ...], value: Any, place: Place) -> Any:
        """What the first of several types makes of it that can."""
        if value is None and type(None) in kinds:
            return None
        reason: list[Problem] = []
        for kind in kinds:
            if kind is not type(None):
                found: list[Problem] = []
                read = OptionValues(found).read(kind, value, place)
                if not found:
                    return read
                reason = reason or found
        self._problems += reason
        return None

    def _sequence(self, cls: type, args: tuple[Any, ...], value: Any, place: Place) -> Any:
        if not isinstance(value, list):
            return self._wrong("a list", value, place)
        if cls is not tuple or not args or args[-1] is Ellipsis:
            kinds = [args[0] if args else Any] * len(value)
        elif len(args) == len(value):
            kinds = list(args)
        else:
            return self._wrong(f"a list with {len(args)} entries", value, place)
        entries = zip(kinds, value, strict=True)
        read = [self.read(kind, entry, (*place, i)) for i, (kind, entry) in enumerate(entries)]
        return tuple(read) if cls is tuple else read

    def _mapping(self, kind: Any, value: Any, place: Place) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong("a mapping", value, place)
        return {key: self.read(kind, entry, (*place, key)) for key, entry in value.items()}

    def _dataclass(self, cls: Any, value: Any, place: Place) -> Any:
        """One of several configurations; a single one's fields are options themselves."""
        # Options are read as values, and values that are configurations as options.
        from holdstep.policies.teleop.graph.options import Options

        if not isinstance(value, Mapping):
            return self._wrong("a mapping", value, place)
        found: list[Problem] = []
        made = Options(cls).made(value, found)
        self._problems += [problem.inside(*place) for problem in found]
        return made

    def _array(self, value: Any, place: Place) -> Any:
        try:
            array = np.asarray(value)
        except ValueError:  # rows of several lengths
            array = np.asarray(None)
        if not isinstance(value, list) or array.dtype.kind not in "iuf":
            return self._wrong("numbers, in lists of one length", value, place)
        return array.astype(np.float64)

    def _group(self, value: Any, place: Place) -> Any:
        """A tensor group: by its name, by the names of its numbers, or by its array's shape."""
        tensors = load_teleop("retargeting_engine.tensor_types")
        if isinstance(value, str):
            makers = {name: getattr(tensors, name) for name in tensors.__all__}
            simple = {name: make for name, make in makers.items() if _is_simple_function(make)}
            make = self._one_of(simple, value, place)
            return None if make is None else make()
        if isinstance(value, list):
            names = self.read(list[str], value, place)
            return self._group_class("value", [tensors.FloatType(name) for name in names])
        if isinstance(value, Mapping) and value.keys() == {"shape"}:
            shape = self.read(tuple[int, ...], value["shape"], (*place, "shape")) or ()
            return self._group_class("value", [tensors.NDArrayType("value", shape=shape)])
        wanted = "a tensor group's name, names of its numbers, or {shape: [...]} of an array"
        return self._wrong(wanted, value, place)

    def _one_of(self, members: Mapping[str, Any], value: Any, place: Place) -> Any:
        if isinstance(value, str) and value in members:
            return members[value]
        likely = nearest_names(value, members) if isinstance(value, str) else ""
        return self._wrong(f"one of {', '.join(members)}", value, place, likely)

    def _wrong(self, wanted: str, value: Any, place: Place, hint: str = "") -> None:
        self._problems.append(Problem(place, f"must be {wanted}, got {shown(value)}.{hint}"))

    def _none_can_be_written(self, kind: Any, place: Place) -> None:
        name = getattr(kind, "__name__", kind)
        self._problems.append(
            Problem(
                place,
                f"must be an object of Python's ({name}), which no file can hold: name a class or "
                "function of yours as the node's type, module:name, that makes it.",
            )
        )


def _is_simple_function(make: Any) -> bool:
    return inspect.isfunction(make) and not inspect.signature(make).parameters
