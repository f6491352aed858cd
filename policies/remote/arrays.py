"""Arrays out of bytes that a stranger sent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from holdstep.errors import MalformedMessageError

_KINDS = "biuf"
"""Booleans, integers and floats. Objects would need pickle, which runs code."""
_MAX_DIMENSIONS = 16


def array_from(
    buffer: memoryview, *, dtype: str, shape: Sequence[object], fortran_order: bool = False
) -> np.ndarray:
    """An array over received bytes, which it shares if it can.

    What is declared is compared with the number of bytes that are there before anything is
    allocated, so that a small message can't ask for a large array.

    Args:
        buffer: the values, and nothing else.
        dtype: as in ``np.dtype.str``.
        shape: of the array.
        fortran_order: whether the first index varies fastest.

    Returns:
        An array that is aligned, in the machine's byte order, and may be written to: what torch
        takes without a copy or a warning.

    Raises:
        MalformedMessageError: another type of values, no shape, or another number of bytes.
    """
    kind = checked_dtype(dtype)
    if len(shape) > _MAX_DIMENSIONS:
        raise MalformedMessageError(
            f"an array of {len(shape)} dimensions; at most {_MAX_DIMENSIONS} are accepted"
        )
    sizes = []
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**40:
            raise MalformedMessageError(f"an array of shape {tuple(shape)!r:.100}")
        sizes.append(size)
    # Python's integers: a product that overflows must not come out small.
    expected = math.prod(sizes) * kind.itemsize
    if expected != buffer.nbytes:
        raise MalformedMessageError(
            f"an array of shape {tuple(sizes)} and dtype {kind} takes {expected} bytes, but "
            f"{buffer.nbytes} were sent"
        )
    if expected == 0:
        if math.prod(max(size, 1) for size in sizes) >= 2**40:
            raise MalformedMessageError(f"an array of shape {tuple(sizes)}")
        return np.empty(sizes, kind.newbyteorder("="))
    array: np.ndarray = np.ndarray(sizes, kind, buffer=buffer, order="F" if fortran_order else "C")
    flags = array.flags
    if flags.aligned and flags.writeable and kind.isnative:
        return array
    return array.astype(kind.newbyteorder("="))


def checked_dtype(name: object) -> np.dtype:
    """The dtype of this name, if it is one of plain numbers.

    Raises:
        MalformedMessageError: it is not.
    """
    # Looked at before NumPy reads it, since its names can describe whole structures.
    if isinstance(name, str) and len(name) <= 4 and name.lstrip("<>=|")[:1] in _KINDS:
        try:
            dtype = np.dtype(name)
        except (TypeError, ValueError):
            pass
        else:
            if dtype.kind in _KINDS:
                return dtype
    raise MalformedMessageError(
        f"an array of dtype {name!r:.60}; booleans, integers and floats are accepted"
    )
