"""Problems of a document, each with its place; all are found before any is reported."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from holdstep.errors import DocumentError

Place: TypeAlias = tuple[str | int, ...]
"""Where in a document: names of fields and positions in lists, from the outside in."""

MAX_TEXT = 2000
"""The most characters of any text."""


@dataclass(frozen=True)
class Problem:
    """Something wrong, and where.

    Attributes:
        place: of what is wrong.
        message: says why.
        at_key: whether it is the name of what is there, and not its value.
    """

    place: Place
    message: str
    at_key: bool = False

    def inside(self, *outer: str | int) -> Problem:
        """The same problem, seen from further out."""
        return dataclasses.replace(self, place=(*outer, *self.place))

    def __str__(self) -> str:
        return f"{place_text(self.place)}: {self.message}" if self.place else self.message


class FieldsError(DocumentError):
    """A part of a document was made from values that can't be right.

    Attributes:
        found: the problems, with their places inside that part.
    """

    def __init__(self, subject: str, found: Sequence[Problem]) -> None:
        self.found = tuple(found)
        super().__init__(subject, [str(problem) for problem in found])


@dataclass(frozen=True, eq=False)
class Tagged:
    """In an ``Annotated`` type: one of several dataclasses, chosen by an entry.

    Attributes:
        name: of the entry.
        classes: by its values.
    """

    name: str
    classes: Mapping[str, type]


def place_text(place: Place) -> str:
    """A place as people write it.

    >>> place_text(("inputs", 3, "shape"))
    'inputs[3].shape'
    """
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


@functools.cache
def field_types(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, by name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def value_problems(kind: Any, value: Any, place: Place) -> Iterator[Problem]:
    """What keeps ``value`` from being of type ``kind``.

    Args:
        kind: int, float, str, bool, a dataclass, a ``Literal``, a ``tuple``, a ``Mapping`` from
            text, or a union of such with None.
        value: what is there.
        place: where it is.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return
        (inner,) = (arg for arg in args if arg is not type(None))
        yield from value_problems(inner, value, place)
    elif origin is Literal:
        if not isinstance(value, str) or value not in args:
            allowed = ", ".join(map(str, args))
            yield Problem(place, f"must be one of {allowed}, got {shown(value)}.")
    elif origin is tuple:
        yield from _tuple_problems(args, value, place)
    elif origin is not None and issubclass(origin, Mapping):
        yield from _mapping_problems(args[1], value, place)
    else:
        message = _scalar_problem(kind, value)
        if message:
            yield Problem(place, message)


def _tuple_problems(args: tuple[Any, ...], value: Any, place: Place) -> Iterator[Problem]:
    if not isinstance(value, tuple):
        yield Problem(place, f"must be a tuple (a list in YAML), got {shown(value)}.")
        return
    if len(args) == 2 and args[1] is Ellipsis:
        kinds: Sequence[Any] = [args[0]] * len(value)
    elif len(args) == len(value):
        kinds = args
    else:
        yield Problem(place, f"must have {len(args)} entries, got {len(value)}.")
        return
    for index, (kind, entry) in enumerate(zip(kinds, value, strict=True)):
        yield from value_problems(kind, entry, (*place, index))


def _mapping_problems(kind: Any, value: Any, place: Place) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem(place, f"must be a mapping, got {shown(value)}.")
        return
    for key, entry in value.items():
        if not isinstance(key, str):
            yield Problem(place, f"must have texts as keys, got {shown(key)}.")
        else:
            yield from value_problems(kind, entry, (*place, key))


def _scalar_problem(kind: type, value: Any) -> str | None:
    # bool is an int and an int can stand for a float; numpy's scalars are none of Python's own.
    allowed: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if type(value) not in allowed and not (
        dataclasses.is_dataclass(kind) and isinstance(value, kind)
    ):
        return f"must be {_a(kind.__name__)}, got {shown(value)}."
    if kind is float and math.isnan(value):
        return "must be a number, got NaN."
    if kind is str:
        if len(value) > MAX_TEXT:
            return f"must have at most {MAX_TEXT} characters, got {len(value)}."
        if any(not char.isprintable() and char not in "\n\t" for char in value):
            return f"must have only characters that can be printed, got {shown(value)}."
    return None


_NAMES = {"str": "a text", "int": "an integer", "float": "a number", "bool": "true or false"}


def _a(name: str) -> str:
    return _NAMES.get(name, f"a {name}")


def shown(value: Any) -> str:
    """A value in a message: short, whatever it is."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
