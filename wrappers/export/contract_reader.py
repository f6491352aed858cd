"""YAML nodes turned into the dataclasses of a contract, with every problem and its line."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

import yaml

from holdstep.errors import nearest_names
from holdstep.wrappers.export.problems import (
    FieldsError,
    Place,
    Problem,
    field_types,
    shown,
    value_problems,
)
from holdstep.wrappers.export.yaml_nodes import LocatedProblem, scalar_value

_INVALID: Any = object()
"""Stands for a value that has a problem, which is already in the list."""


class ContractReader:
    """Builds a dataclass from a node; afterwards, :attr:`problems` says what is wrong.

    The types of the dataclasses' fields are the schema; their own checks add the rules.
    """

    def __init__(self) -> None:
        self.problems: list[LocatedProblem] = []
        self._lines: dict[Place, int] = {}

    def build(self, cls: type, node: yaml.Node) -> Any:
        """An instance of ``cls``; only of use while there are no problems."""
        return self._value(cls, node, ())

    def _value(self, kind: Any, node: yaml.Node, place: Place) -> Any:
        self._lines[place] = node.start_mark.line + 1
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if origin in (types.UnionType, typing.Union):
            if isinstance(node, yaml.ScalarNode) and scalar_value(node) is None:
                return None
            (inner,) = (arg for arg in args if arg is not type(None))
            return self._value(inner, node, place)
        if origin is tuple:
            return self._tuple(args, node, place)
        if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
            return self._mapping(args[1], node, place)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, node, place)
        return self._scalar(kind, node, place)

    def _scalar(self, kind: Any, node: yaml.Node, place: Place) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return self._found(place, f"must be a single value, got {_node_name(node)}.")
        value = scalar_value(node)
        if kind is float and type(value) is int:
            value = float(value)
        found = list(value_problems(kind, value, place))
        for problem in found:
            self._found(problem.place, problem.message + _hint(kind, value))
        return _INVALID if found else value

    def _tuple(self, args: tuple[Any, ...], node: yaml.Node, place: Place) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self._found(place, f"must be a list, got {_node_name(node)}.")
        nodes = node.value
        if len(args) == 2 and args[1] is Ellipsis:
            kinds = [args[0]] * len(nodes)
        elif len(args) == len(nodes):
            kinds = list(args)
        else:
            return self._found(place, f"must have {len(args)} entries, got {len(nodes)}.")
        values = tuple(
            self._value(kind, entry, (*place, index))
            for index, (kind, entry) in enumerate(zip(kinds, nodes, strict=True))
        )
        return _INVALID if any(value is _INVALID for value in values) else values

    def _mapping(self, kind: Any, node: yaml.Node, place: Place) -> Any:
        entries = self._entries(node, place)
        if entries is None:
            return _INVALID
        values = {key: self._value(kind, entry, (*place, key)) for key, entry in entries.items()}
        return _INVALID if any(value is _INVALID for value in values.values()) else values

    def _dataclass(self, cls: Any, node: yaml.Node, place: Place) -> Any:
        entries = self._entries(node, place)
        if entries is None:
            return _INVALID
        kinds = field_types(cls)
        valid = True
        for key, entry in entries.items():
            if key not in kinds:
                valid = False
                self._lines[(*place, key)] = entry.start_mark.line + 1
                # Looking for likely names takes a while: not for each of a million keys.
                likely = nearest_names(key, kinds) if len(self.problems) < 50 else ""
                self._found((*place, key), f"is no field here.{likely}")
        for field in dataclasses.fields(cls):
            optional = (
                field.default is not dataclasses.MISSING
                or field.default_factory is not dataclasses.MISSING
            )
            if field.name not in entries and not optional:
                valid = False
                self._found((*place, field.name), "is missing.")
        values = {
            name: self._value(kinds[name], entry, (*place, name))
            for name, entry in entries.items()
            if name in kinds
        }
        if not valid or any(value is _INVALID for value in values.values()):
            return _INVALID
        try:
            return cls(**values)
        except FieldsError as error:
            for problem in error.found:
                self._found((*place, *problem.place), problem.message)
            return _INVALID

    def _entries(self, node: yaml.Node, place: Place) -> dict[str, yaml.Node] | None:
        """A mapping's nodes by key; None if it is no mapping, or one that can't be used."""
        if not isinstance(node, yaml.MappingNode):
            self._found(place, f"must be a mapping, got {_node_name(node)}.")
            return None
        entries: dict[str, yaml.Node] = {}
        valid = True
        for key_node, value_node in node.value:
            key = scalar_value(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                valid = False
                self._found(place, f"has a key that is no text: {_node_text(key_node)}.", line)
            elif key in entries:
                valid = False
                self._found((*place, key), "is there twice.", line)
            else:
                entries[key] = value_node
        return entries if valid else None

    def _found(self, place: Place, message: str, line: int | None = None) -> Any:
        """Note a problem, at the line of the innermost part of ``place`` that has one."""
        if line is None:
            known = (place[:length] for length in range(len(place), -1, -1))
            line = next((self._lines[part] for part in known if part in self._lines), 0)
        self.problems.append(LocatedProblem(line, Problem(place, message)))
        return _INVALID


def _hint(kind: Any, value: Any) -> str:
    """How to write what was probably meant."""
    if kind is float and isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return ""
        return f" YAML takes that for text: write {float(value)!r}, with a point."
    if kind is str and not isinstance(value, str):
        return " Put it in quotes."
    return ""


def _node_name(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return shown(scalar_value(node)) if isinstance(node, yaml.ScalarNode) else "nothing"


def _node_text(node: yaml.Node) -> str:
    return shown(node.value) if isinstance(node, yaml.ScalarNode) else _node_name(node)
