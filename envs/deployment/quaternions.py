"""Quaternions between ``wxyz`` and ``xyzw``, wherever they stand in a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.wrappers.export.tensors import QuaternionOrder


def reordering(
    width: int, source: QuaternionOrder, target: QuaternionOrder
) -> tuple[int, ...] | None:
    """Positions in the last dimension of a source that make the target's.

    Args:
        width: of the last dimension: 4 for a quaternion; 7 or more for a pose or root state, whose
            quaternion follows the position.
        source: the order that there is.
        target: the order that is wanted.

    Returns:
        ``width`` positions, or None if both orders are the same.

    >>> reordering(4, "wxyz", "xyzw")
    (1, 2, 3, 0)
    >>> reordering(7, "xyzw", "wxyz")
    (0, 1, 2, 6, 3, 4, 5)
    """
    if source == target:
        return None
    start = 0 if width == 4 else 3
    moved = (1, 2, 3, 0) if target == "xyzw" else (3, 0, 1, 2)
    quaternion = tuple(start + position for position in moved)
    return (*range(start), *quaternion, *range(start + 4, width))
