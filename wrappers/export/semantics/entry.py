"""What one quantity of a simulator means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from holdstep.wrappers.export.tensors import QuaternionOrder

QuantityRole: TypeAlias = Literal["state", "const", "command", "derived", "write", "refused"]
"""What a quantity is to an exported policy.

- ``"state"``, ``"command"``: an input: it differs from step to step, and a host must supply it.
- ``"const"``: baked into the model.
- ``"derived"``: computed from others by its own getter, whose reads count instead of it.
- ``"write"``: a method that hands targets to the simulator: an output.
- ``"refused"``: can't be exported, for :attr:`Semantics.reason`.
"""

ElementKind: TypeAlias = Literal["joints", "bodies", "sites", "geoms", "tendons", "actuators"]

XYZ = ("x", "y", "z")
WXYZ = ("w", "x", "y", "z")
XYZW = ("x", "y", "z", "w")
LINEAR_ANGULAR = ("vx", "vy", "vz", "wx", "wy", "wz")


@dataclass(frozen=True)
class Semantics:
    """What one property or method means.

    Attributes:
        role: what it is to an exported policy.
        kind: what it is physically, such as ``"joint_position"``.
        unit: such as ``"m/s"``. ``"joint"`` stands for rad or m, whichever the joints have;
            ``"joint/s"``, ``"joint/s^2"`` and ``"joint_effort"`` likewise.
        frame: ``"world"``, ``"body"``, ``"env"`` or a name; None where frames mean nothing.
        quaternion_order: of the quaternions in its last dimension.
        elements: what its first dimension runs over: a kind of element, whose names the entity
            knows, or the names themselves.
        nominal: what a constant is where nothing is randomised; None if that isn't known.
        values: for a write, the parameters that take the targets, by name.
        ids: for a write, the parameter that says which elements; None if it writes all.
        reason: for what is refused, why.
    """

    role: QuantityRole
    kind: str | None = None
    unit: str | None = None
    frame: str | None = None
    quaternion_order: QuaternionOrder | None = None
    elements: ElementKind | tuple[str, ...] | None = None
    nominal: float | None = None
    values: tuple[str, ...] = ()
    ids: str | None = None
    reason: str = ""


Table: TypeAlias = Mapping[str, Mapping[str, Semantics]]
"""Semantics by dotted class path, then by attribute."""


def state(
    kind: str,
    unit: str | None = None,
    *,
    frame: str | None = None,
    quaternion_order: QuaternionOrder | None = None,
    elements: ElementKind | tuple[str, ...] | None = None,
) -> Semantics:
    """A quantity that a host must supply in every step."""
    return Semantics("state", kind, unit, frame, quaternion_order, elements)


def const(
    kind: str,
    unit: str | None = None,
    *,
    frame: str | None = None,
    elements: ElementKind | tuple[str, ...] | None = None,
    nominal: float | None = None,
) -> Semantics:
    """A quantity that is baked into the model."""
    return Semantics("const", kind, unit, frame, elements=elements, nominal=nominal)


def command(
    kind: str,
    unit: str | None = None,
    *,
    frame: str | None = None,
    quaternion_order: QuaternionOrder | None = None,
    elements: ElementKind | tuple[str, ...] | None = None,
) -> Semantics:
    """A quantity that whoever deploys the policy sets."""
    return Semantics("command", kind, unit, frame, quaternion_order, elements)


def write(
    kind: str,
    unit: str | None = None,
    *,
    values: tuple[str, ...],
    ids: str | None = None,
    elements: ElementKind | tuple[str, ...] | None = None,
    frame: str | None = None,
) -> Semantics:
    """A method that hands targets to the simulator."""
    return Semantics("write", kind, unit, frame, elements=elements, values=values, ids=ids)


def refused(reason: str) -> Semantics:
    """What can't be exported.

    Args:
        reason: why, as a sentence that continues "<class> can't be exported:".
    """
    return Semantics("refused", reason=reason)


DERIVED = Semantics("derived")
