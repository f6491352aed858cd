"""YAML nodes turned into dataclasses, with every problem and where it is."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

import yaml

from holdstep.documents.nodes import LocatedProblem, scalar_value
from holdstep.documents.problems import (
    FieldsError,
    Place,
    Problem,
    Tagged,
    field_types,
    shown,
    value_problems,
)
from holdstep.errors import ConfigError, nearest_names

_INVALID: Any = object()
"""Stands for a value that has a problem, which is already in the list."""


class DocumentReader:
    """Builds a dataclass from a node; afterwards, :attr:`problems` says what is wrong.

    The types of the dataclasses' fields are the schema; their own checks add the rules. A
    ``ConfigError`` of such a check is of the field that its message begins with.

    Attributes:
        problems: in the order in which they were found.
        built: the dataclasses that could be built, by where they stand, also where what they are a
            part of could not.
    """

    def __init__(self) -> None:
        self.problems: list[LocatedProblem] = []
        self.built: dict[Place, Any] = {}
        self._marks: dict[Place, yaml.Mark] = {}
        self._key_marks: dict[Place, yaml.Mark] = {}

    def add(self, problem: Problem) -> None:
        """Note a problem that was found elsewhere."""
        mark = self._key_marks.get(problem.place) if problem.at_key else None
        self._found(problem.place, problem.message, mark)

    def build(self, cls: type, node: yaml.Node) -> Any:
        """An instance of ``cls``; only of use while there are no problems."""
        return self._value(cls, node, ())

    def _value(self, kind: Any, node: yaml.Node, place: Place) -> Any:
        self._marks[place] = node.start_mark
        if kind is Any:
            return self._plain(node, place)
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Annotated:
            return self._tagged(args[1], node, place)
        if origin in (types.UnionType, typing.Union):
            return self._union(args, node, place)
        if origin is tuple:
            return self._tuple(args, node, place)
        if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
            return self._mapping(args[1], node, place)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, node, place)
        return self._scalar(kind, node, place)

    def _union(self, kinds: tuple[Any, ...], node: yaml.Node, place: Place) -> Any:
        """None, a dataclass where there is a mapping, or what else there may be."""
        is_null = isinstance(node, yaml.ScalarNode) and scalar_value(node) is None
        if is_null and type(None) in kinds:
            return None
        rest = [kind for kind in kinds if kind is not type(None)]
        if len(rest) > 1:
            is_mapping = isinstance(node, yaml.MappingNode)
            rest = [kind for kind in rest if dataclasses.is_dataclass(kind) is is_mapping]
        (kind,) = rest
        return self._value(kind, node, place)

    def _plain(self, node: yaml.Node, place: Place) -> Any:
        """Whatever is there, as lists, dicts and single values."""
        if isinstance(node, yaml.SequenceNode):
            return [self._value(Any, entry, (*place, i)) for i, entry in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(Any, node, place)
        return scalar_value(node) if isinstance(node, yaml.ScalarNode) else None

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

    def _tagged(self, tagged: Tagged, node: yaml.Node, place: Place) -> Any:
        """One of several dataclasses; an entry says which."""
        entries = self._entries(node, place)
        if entries is None:
            return _INVALID
        tag = entries.pop(tagged.name, None)
        where = (*place, tagged.name)
        if tag is None:
            return self._found(where, f"is missing: one of {', '.join(tagged.classes)}.")
        self._marks[where] = tag.start_mark
        kind = scalar_value(tag) if isinstance(tag, yaml.ScalarNode) else None
        if not isinstance(kind, str) or kind not in tagged.classes:
            likely = nearest_names(kind, tagged.classes) if isinstance(kind, str) else ""
            return self._found(
                where,
                f"must be one of {', '.join(tagged.classes)}, got {_node_name(tag)}.{likely}",
            )
        return self._fields(tagged.classes[kind], entries, place)

    def _dataclass(self, cls: Any, node: yaml.Node, place: Place) -> Any:
        entries = self._entries(node, place)
        return _INVALID if entries is None else self._fields(cls, entries, place)

    def _fields(self, cls: Any, entries: dict[str, yaml.Node], place: Place) -> Any:
        kinds = field_types(cls)
        valid = True
        for key in entries:
            if key not in kinds:
                valid = False
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
            made = self.built[place] = cls(**values)
            return made
        except FieldsError as error:
            for problem in error.found:
                self.add(problem.inside(*place))
            return _INVALID
        except ConfigError as error:
            within, message = _split_place(str(error))
            if within[:1] and within[0] in kinds:
                return self._found((*place, *within), message)
            return self._found(place, str(error))

    def _entries(self, node: yaml.Node, place: Place) -> dict[str, yaml.Node] | None:
        """A mapping's nodes by key; None if it is no mapping, or one that can't be used."""
        if not isinstance(node, yaml.MappingNode):
            self._found(place, f"must be a mapping, got {_node_name(node)}.")
            return None
        entries: dict[str, yaml.Node] = {}
        valid = True
        for key_node, value_node in node.value:
            key = scalar_value(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            mark = key_node.start_mark
            if not isinstance(key, str):
                valid = False
                self._found(place, f"has a key that is no text: {_node_text(key_node)}.", mark)
            elif key in entries:
                valid = False
                self._found((*place, key), "is there twice.", mark)
            else:
                entries[key] = value_node
                self._marks[(*place, key)] = self._key_marks[(*place, key)] = mark
        return entries if valid else None

    def _found(self, place: Place, message: str, mark: yaml.Mark | None = None) -> Any:
        """Note a problem, where the innermost part of ``place`` is that is anywhere."""
        if mark is None:
            known = (place[:length] for length in range(len(place), -1, -1))
            mark = next((self._marks[part] for part in known if part in self._marks), None)
        line, column = (0, 0) if mark is None else (mark.line + 1, mark.column + 1)
        self.problems.append(LocatedProblem(line, Problem(place, message), column))
        return _INVALID


def _split_place(message: str) -> tuple[Place, str]:
    """The place that a message begins with, and the rest.

    >>> _split_place("mapping.moves[0] has no input.")
    (('mapping', 'moves', 0), 'has no input.')
    """
    first, _, rest = message.partition(" ")
    if not re.fullmatch(r"\w+(\.\w+|\[\d+\])*:?", first):
        return (), message
    steps = re.findall(r"\w+", first)
    return tuple(int(step) if step.isdecimal() else step for step in steps), rest


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
