"""Finding what a property or method of a simulator's object means."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from holdstep.wrappers.export.semantics import isaaclab, isaaclab3, mjlab
from holdstep.wrappers.export.semantics.leapp_marks import marked_semantics
from holdstep.wrappers.export.semantics.user import user_table

if TYPE_CHECKING:
    from holdstep.wrappers.export.semantics.entry import Semantics, Table

# Isaac Lab 3.0 before 2.3: where both have a class of one name, the generation that is installed
# decides, see `tables_of`.
_MJLAB: tuple[Table, ...] = (mjlab.TABLE,)
_ISAACLAB: tuple[Table, ...] = (isaaclab.TABLE,)
_ISAACLAB3: tuple[Table, ...] = (isaaclab3.TABLE,)


def tables_of(simulator: str) -> tuple[Table, ...]:
    """The tables of a simulator.

    Args:
        simulator: ``"mjlab"``, ``"isaaclab3"`` or ``"isaaclab"`` (2.x).
    """
    return {"mjlab": _MJLAB, "isaaclab3": _ISAACLAB3, "isaaclab": _ISAACLAB}[simulator]


def class_path(cls: type) -> str:
    """Dotted path of a class, as the tables name it."""
    return f"{cls.__module__}.{cls.__qualname__}"


class SemanticsLookup:
    """What attributes of a simulator's classes mean.

    A class is looked for under its own path, then under its bases' in the order of inheritance, so
    that what a base declares holds for subclasses too. What users registered comes first, then the
    simulator's table, then the marks that Isaac Lab 3.0 puts on its own getters and methods.

    Args:
        tables: built-in tables, see :func:`tables_of`.
    """

    def __init__(self, tables: tuple[Table, ...]) -> None:
        self._tables = tables

    def find(self, cls: type, attribute: str) -> Semantics | None:
        """What an attribute of a class means; None if nobody said so."""
        for base in cls.__mro__:
            for table in (user_table(), *self._tables):
                entries = table.get(class_path(base))
                if entries is not None and attribute in entries:
                    return entries[attribute]
        return marked_semantics(cls, attribute)

    def refusal(self, cls: type) -> str | None:
        """Why objects of a class can't be exported at all; None if they can."""
        found = self.find(cls, "*")
        return found.reason if found is not None and found.role == "refused" else None


@functools.cache
def _element_attribute(kind: str) -> tuple[str, ...]:
    return {
        "joints": ("joint_names",),
        "bodies": ("body_names",),
        "sites": ("site_names",),
        "geoms": ("geom_names",),
        "tendons": ("tendon_names", "fixed_tendon_names"),
        "actuators": ("actuator_names",),
    }[kind]


def element_names(semantics: Semantics | None, *owners: Any) -> tuple[str, ...] | None:
    """Names along the first dimension of a quantity.

    Args:
        semantics: of the quantity.
        *owners: objects that may know them: the entity, its data, the sensor.

    Returns:
        The names, or None if nobody knows.
    """
    if semantics is None or semantics.elements is None:
        return None
    if isinstance(semantics.elements, tuple):
        return semantics.elements
    for owner in owners:
        for attribute in _element_attribute(semantics.elements):
            names = getattr(owner, attribute, None)
            if names:
                return tuple(str(name) for name in names)
    return None


def select_names(names: tuple[str, ...] | None, ids: object) -> tuple[str, ...] | None:
    """The names of some elements.

    Args:
        names: of all.
        ids: which: a slice, integers, a tensor of them, or None for all.
    """
    if names is None or ids is None:
        return names
    if isinstance(ids, slice):
        return names[ids]
    return tuple(names[index] for index in _integers(ids))


def _integers(ids: Any) -> Iterator[int]:
    if hasattr(ids, "tolist"):
        ids = ids.tolist()
    yield from ((int(ids),) if isinstance(ids, int) else (int(index) for index in ids))
