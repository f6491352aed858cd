"""The ``.npy`` format of arrays, without its pickles: what ``np.save(allow_pickle=False)`` writes.

NumPy's own reader evaluates the header as Python source and copies the values. Here the header must
have exactly the form that NumPy writes, and the values stay where they were received.
"""

from __future__ import annotations

import functools
import io
import re

import numpy as np

from holdstep.errors import MalformedMessageError
from holdstep.policies.remote.arrays import array_from

_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 10_000
_HEADER = re.compile(
    r"\{'descr': ?'([^']*)', ?'fortran_order': ?(True|False), ?"
    r"'shape': ?\(([0-9, ]{0,200})\),? ?\} *\n?"
)


@functools.lru_cache(maxsize=256)
def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What comes before the values of a C-contiguous array."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": dtype.str, "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def read_npy(data: memoryview) -> np.ndarray:
    """The array in ``data``, which shares its memory if it can.

    Raises:
        MalformedMessageError: it is no array of plain numbers, or not a whole one.
    """
    if bytes(data[:6]) != _MAGIC or len(data) < 10:
        raise MalformedMessageError("an array that is not in the .npy format")
    major = data[6]
    length_bytes = {1: 2, 2: 4, 3: 4}.get(major)
    if length_bytes is None:
        raise MalformedMessageError(f"an array in version {major} of the .npy format; 1 to 3 exist")
    start = 8 + length_bytes
    length = int.from_bytes(data[8:start], "little")
    if length > min(_MAX_HEADER_BYTES, len(data) - start):
        raise MalformedMessageError(f"a .npy header of {length} bytes")
    text = bytes(data[start : start + length]).decode("latin-1")
    match = _HEADER.fullmatch(text)
    if match is None:
        raise MalformedMessageError(
            f"a .npy header that is no array of plain numbers: {text.strip()!r:.100}"
        )
    descr, fortran_order, sizes = match.groups()
    return array_from(
        data[start + length :],
        dtype=descr,
        shape=[int(size) for size in sizes.replace(",", " ").split()],
        fortran_order=fortran_order == "True",
    )
