"""The marks that Isaac Lab 3.0 puts on its own properties and methods for LEAPP."""

from __future__ import annotations

from typing import Any

from holdstep.wrappers.export.semantics.entry import Semantics

_KINDS = {
    "state/joint/position": "joint_position",
    "state/joint/velocity": "joint_velocity",
    "state/joint/acceleration": "joint_acceleration",
    "target/joint/position": "joint_position_target",
    "target/joint/velocity": "joint_velocity_target",
    "target/joint/torques": "joint_effort_target",
    "target/joint/effort": "joint_effort_target",
}


def marked_semantics(cls: type, attribute: str) -> Semantics | None:
    """What an attribute's own mark says; None if it has none.

    A backend overrides getters without repeating the marks, so that all bases are looked at.

    Args:
        cls: the class.
        attribute: a property or method of it.
    """
    for base in cls.__mro__:
        member = vars(base).get(attribute)
        marked = getattr(member, "fget", None) or member
        mark = getattr(marked, "_leapp_semantics", None)
        if mark is not None:
            return _from_mark(mark, is_method=not isinstance(member, property))
    return None


def _from_mark(mark: Any, *, is_method: bool) -> Semantics:
    kind = None if mark.kind is None else str(getattr(mark.kind, "value", mark.kind))
    kind = _KINDS.get(kind, kind) if kind else None
    if is_method:
        return Semantics("write", kind, values=("target",), ids="joint_ids", elements="joints")
    names = mark.element_names
    flat = names is not None and all(isinstance(name, str) for name in names)
    return Semantics(
        "const" if mark.const else "state",
        kind,
        elements=tuple(names) if flat else None,
    )
