"""openpi's wire format: msgpack, arrays as maps with *bytes* as keys.

An array is ``{b"__ndarray__": true, b"data": bytes, b"dtype": str, b"shape": [...]}``, a NumPy
scalar ``{b"__npgeneric__": true, b"data": number, b"dtype": str}`` (Physical Intelligence openpi,
``openpi_client/msgpack_numpy.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from holdstep.errors import MalformedMessageError
from holdstep.policies.remote.arrays import array_from
from holdstep.policies.remote.msgpack_reader import read_message
from holdstep.policies.remote.msgpack_writer import MessageWriter, bin_header

# A map of four: b"__ndarray__" -> true, b"data" -> raw bytes, then dtype and shape.
_ARRAY_START = b"\x84\xc4\x0b__ndarray__\xc3\xc4\x04data"
_DTYPE_KEY = b"\xc4\x05dtype"
_SHAPE_KEY = b"\xc4\x05shape"


def openpi_writer() -> MessageWriter:
    """Packs messages for openpi."""
    return MessageWriter(_array_frame, extra="openpi")


def read_openpi(data: memoryview) -> Any:
    """The message in ``data``.

    Raises:
        MalformedMessageError: it is none.
    """
    return read_message(data, _on_map)


def _array_frame(dtype: np.dtype, shape: tuple[int, ...], num_bytes: int) -> tuple[bytes, bytes]:
    name = dtype.str.encode()
    after = [_DTYPE_KEY, bytes([0xA0 | len(name)]), name, _SHAPE_KEY]
    after.append(b"\xdc" + len(shape).to_bytes(2, "big"))
    after += [b"\xcf" + size.to_bytes(8, "big") for size in shape]
    return _ARRAY_START + bin_header(num_bytes), b"".join(after)


def _on_map(entries: dict[Any, Any]) -> Any:
    if b"__ndarray__" in entries:
        data, shape = entries.get(b"data"), entries.get(b"shape")
        if not isinstance(data, memoryview) or not isinstance(shape, list):
            raise MalformedMessageError("an array without its bytes or its shape")
        return array_from(data, dtype=entries.get(b"dtype", ""), shape=shape)
    if b"__npgeneric__" in entries:
        scalar = entries.get(b"data")
        if not isinstance(scalar, bool | int | float | str):
            raise MalformedMessageError(f"a NumPy scalar of type {type(scalar).__name__}")
        return scalar
    return entries
