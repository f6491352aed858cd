"""Parts of a contract that can't be made with wrong values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdstep.documents.problems import FieldsError, Problem, field_types, value_problems
from holdstep.errors import ContractError


class PartError(FieldsError, ContractError):
    """A part of a contract was made from values that can't be right."""


class Checked:
    """Base of a contract's frozen dataclasses: the types of all fields are checked, then its rules.

    Raises:
        ContractError: a field has the wrong type, or a rule does not hold; all are listed.
    """

    def __post_init__(self) -> None:
        # Rules may rely on the types, so they are looked at only when those are right.
        found = list(_type_problems(self)) or list(self._problems())
        if found:
            raise PartError(f"{type(self).__name__} has fields that can't be right", found)

    def _problems(self) -> Iterator[Problem]:
        """The rules of this part that do not hold."""
        yield from ()


def _type_problems(part: Any) -> Iterator[Problem]:
    cls: Any = type(part)
    for name, kind in field_types(cls).items():
        yield from value_problems(kind, getattr(part, name), (name,))
