"""The fields of Isaac Lab's own exports, each on its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from holdstep.wrappers.export.contract import Check, Memory, MemoryKind, QuaternionOrder


def as_text(value: Any) -> str | None:
    """A text; None for anything else, which is not to be made one: aliases may make it huge."""
    return value if isinstance(value, str) else None


def shape_of(shape: Any) -> tuple[int, ...]:
    """A shape, which may be a list or the text of one; empty if it is neither."""
    if isinstance(shape, str):
        try:
            shape = json.loads(shape)
        except (ValueError, RecursionError):
            return ()
    if isinstance(shape, list) and all(type(size) is int for size in shape):
        return tuple(shape)
    return ()


def axis_names(names: Any) -> list[tuple[str, ...]]:
    """Names by axis after the rows, empty for an axis without; a flat list names the first."""
    if not isinstance(names, list) or not names:
        return []
    by_axis = names if isinstance(names[0], list) else [names]
    return [
        tuple(axis)
        if isinstance(axis, list) and all(isinstance(name, str) for name in axis)
        else ()
        for axis in by_axis
    ]


def quaternion_order(
    connection: str, names_of_axes: list[tuple[str, ...]], shape: tuple[int, ...]
) -> QuaternionOrder | None:
    """From the names of the last axis, or else from the property's; 3.0's are ``xyzw``."""
    for axis in names_of_axes:
        if {"qw", "qx", "qy", "qz"} <= set(axis):
            return "wxyz" if axis.index("qw") < axis.index("qx") else "xyzw"
    named_so = any(word in connection for word in ("quat", "pose", "root_state", "link_state"))
    wide = bool(shape) and (shape[-1] == 4 or shape[-1] >= 7)
    return "xyzw" if named_so and wide and connection.startswith(("state:", "sensor:")) else None


def memory_kind(name: str) -> MemoryKind:
    """What a memory is, by its name."""
    return "last_action" if "last_action" in name else "history"


def export_checks(memories: Mapping[str, Memory], unnamed: list[str]) -> tuple[Check, ...]:
    """What could not be taken over from an export, as checks that were skipped.

    Args:
        memories: of the contract, by name.
        unnamed: connections whose element names were left out.
    """
    checks = []
    histories = [name for name, memory in memories.items() if memory.kind == "history"]
    if histories:
        checks.append(
            Check(
                "memories",
                "skipped",
                detail=f"{', '.join(histories)} begin with zeros: the export has only the values "
                "of the moment at which it was made, and no rule to fill them after a reset.",
            )
        )
    if unnamed:
        checks.append(
            Check(
                "element_names",
                "skipped",
                detail=f"the names of {', '.join(unnamed)} do not fit their shapes, and were left "
                "out: joints and bodies can't be matched by name there.",
            )
        )
    return tuple(checks)
