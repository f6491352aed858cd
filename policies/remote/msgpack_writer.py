"""Messages with large arrays, packed into one buffer; each array is copied once.

``msgpack`` would copy an array three times: to bytes, into the message, and while the message
grows. Here the small parts are packed first, by ``msgpack``; then the size of the whole is known,
and each array is copied from where it is, a GPU included, to its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch

from holdstep.errors import ConfigError
from holdstep.extras import require

Array: TypeAlias = "np.ndarray | torch.Tensor"
ArrayFrame: TypeAlias = Callable[[np.dtype, tuple[int, ...], int], tuple[bytes, bytes]]
"""What a wire format puts before and after an array's values, from dtype, shape and bytes."""

_NUMPY_DTYPES = {
    torch.bool: np.dtype("?"),
    torch.uint8: np.dtype("u1"),
    torch.int8: np.dtype("i1"),
    torch.int16: np.dtype("<i2"),
    torch.int32: np.dtype("<i4"),
    torch.int64: np.dtype("<i8"),
    torch.float16: np.dtype("<f2"),
    torch.float32: np.dtype("<f4"),
    torch.float64: np.dtype("<f8"),
}


class MessageWriter:
    """Packs messages of one wire format.

    Args:
        array_frame: how the format wraps an array.
        extra: the extra that brings ``msgpack``.
    """

    def __init__(self, array_frame: ArrayFrame, *, extra: str) -> None:
        msgpack = require("msgpack", extra=extra, purpose="A remote policy")
        self._packer = msgpack.Packer(use_bin_type=True)
        self._array_frame = array_frame

    def pack(
        self, message: object, allocate: Callable[[int], memoryview] | None = None
    ) -> memoryview:
        """Pack a message.

        Args:
            message: of dictionaries, lists, tuples, strings, bytes, numbers, None, NumPy arrays and
                tensors.
            allocate: where the message goes; a new buffer by default.

        Returns:
            The message: the memory that ``allocate`` gave.

        Raises:
            ConfigError: it holds something else.
        """
        pieces: list[bytes | Array] = []
        self._collect(message, pieces)
        size = sum(piece.nbytes if not isinstance(piece, bytes) else len(piece) for piece in pieces)
        buffer = memoryview(bytearray(size)) if allocate is None else allocate(size)
        offset = 0
        for piece in pieces:
            if isinstance(piece, bytes):
                buffer[offset : offset + len(piece)] = piece
                offset += len(piece)
            else:
                _copy_values(piece, buffer, offset)
                offset += piece.nbytes
        return buffer

    def _collect(self, value: Any, pieces: list[bytes | Array]) -> None:
        if isinstance(value, np.ndarray | torch.Tensor):
            before, after = self._array_frame(_dtype(value), tuple(value.shape), value.nbytes)
            pieces += (before, value, after)
        elif isinstance(value, Mapping):
            pieces.append(self._packer.pack_map_header(len(value)))
            for key, item in value.items():
                pieces.append(self._packer.pack(key))
                self._collect(item, pieces)
        elif isinstance(value, list | tuple):
            pieces.append(self._packer.pack_array_header(len(value)))
            for item in value:
                self._collect(item, pieces)
        else:
            if isinstance(value, np.generic):
                value = value.item()
            try:
                pieces.append(self._packer.pack(value))
            except (TypeError, ValueError, OverflowError) as error:
                raise ConfigError(f"{value!r:.100} can't be sent over the wire: {error}") from error


def bin_header(num_bytes: int) -> bytes:
    r"""What msgpack puts before ``num_bytes`` raw bytes.

    >>> bin_header(3), bin_header(70000)
    (b'\xc4\x03', b'\xc6\x00\x01\x11p')
    """
    if num_bytes < 2**8:
        return b"\xc4" + num_bytes.to_bytes(1, "big")
    if num_bytes < 2**16:
        return b"\xc5" + num_bytes.to_bytes(2, "big")
    if num_bytes < 2**32:
        return b"\xc6" + num_bytes.to_bytes(4, "big")
    raise ConfigError(f"An array of {num_bytes} bytes; msgpack can hold 4 GiB. Lower max_batch.")


def _dtype(array: Array) -> np.dtype:
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "biuf":
            raise ConfigError(
                f"An array of dtype {array.dtype} can't be sent; booleans, integers and floats can."
            )
        return array.dtype
    dtype = _NUMPY_DTYPES.get(array.dtype)
    if dtype is None:
        raise ConfigError(
            f"A tensor of dtype {array.dtype} can't be sent: NumPy has no such type. Convert it "
            "first, to float32 for example."
        )
    return dtype


def _copy_values(array: Array, buffer: memoryview, offset: int) -> None:
    if array.nbytes == 0:
        return
    # NumPy takes memory at any address, aligned or not.
    place: np.ndarray = np.ndarray(tuple(array.shape), _dtype(array), buffer=buffer, offset=offset)
    if isinstance(array, np.ndarray):
        place[...] = array
    elif array.device.type == "cpu":
        place[...] = array.detach().numpy()
    elif array.element_size() == 1:  # images: straight from the GPU to their place
        torch.from_numpy(place).copy_(array.detach())
    else:
        place[...] = array.detach().cpu().numpy()
