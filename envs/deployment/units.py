"""Units of joints, which turn (rad) or slide (m)."""

from __future__ import annotations

from collections.abc import Sequence

_OF_JOINTS = {
    "joint": ("rad", "m"),
    "joint/s": ("rad/s", "m/s"),
    "joint/s^2": ("rad/s^2", "m/s^2"),
    "joint_effort": ("N m", "N"),
}


def joint_units(unit: str | None, slides: Sequence[bool] | None) -> str | tuple[str, ...] | None:
    """A unit of the semantics tables, for the joints of an entity.

    Args:
        unit: as the tables have it; ``"joint"`` and the like stand for one or the other.
        slides: whether each joint slides; None if that is not known.

    >>> joint_units("joint/s", [False, True])
    ('rad/s', 'm/s')
    >>> joint_units("joint", None), joint_units("m/s", [True])
    ('rad or m', 'm/s')
    """
    if unit not in _OF_JOINTS:
        return unit
    turning, sliding = _OF_JOINTS[unit]
    if slides is None:
        return f"{turning} or {sliding}"
    return tuple(sliding if slide else turning for slide in slides)


def same_unit(one: str, other: str) -> bool:
    """Whether two units may be the same; ``"rad or m"`` may be either.

    >>> same_unit("rad or m", "m"), same_unit("rad", "m")
    (True, False)
    """
    return not set(one.split(" or ")).isdisjoint(other.split(" or "))
