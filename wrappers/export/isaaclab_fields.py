"""The fields of Isaac Lab's own exports, each on its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from holdstep.wrappers.export.tensors import MemoryKind, QuaternionOrder


_GAIN_METHODS: Final = frozenset(
    f"write_joint_{gain}_to_sim{suffix}"
    for gain in ("stiffness", "damping")
    for suffix in ("", "_index", "_mask")
)


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


def is_gain(connection: str) -> bool:
    """Whether an output is a gain of the training, which every step repeats.

    >>> is_gain("write:robot:write_joint_damping_to_sim_index")
    True
    """
    role, _, rest = connection.partition(":")
    return role == "write" and rest.rpartition(":")[2] in _GAIN_METHODS


def memory_kind(name: str) -> MemoryKind:
    """What a memory is, by its name."""
    if "last_action" in name:
        return "last_action"
    return "hidden" if name.startswith("actor_state") else "history"


def row_dim(shape: tuple[int, ...], num_rows: int) -> int | None:
    """Which dimension of a memory are the rows; None if that can't be told.

    They are the second one of histories and of recurrent networks' states.

    >>> row_dim((5, 1, 12), 1), row_dim((1, 12), 1), row_dim((3, 3, 12), 3)
    (1, 0, None)
    """
    found = [dim for dim, size in enumerate(shape[:2]) if size == num_rows]
    return found[0] if len(found) == 1 or (found and num_rows == 1) else None
