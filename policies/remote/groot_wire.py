"""GR00T's wire format: msgpack, arrays as ``.npy`` files inside it.

An array is the map ``{"__ndarray_class__": true, "as_npy": bytes}``; what a modality is made of is
``{"__ModalityConfig_class__": true, "as_json": ...}`` (NVIDIA Isaac-GR00T,
``gr00t/policy/server_client.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from holdstep.errors import MalformedMessageError
from holdstep.policies.remote.msgpack_reader import read_message
from holdstep.policies.remote.msgpack_writer import MessageWriter, bin_header
from holdstep.policies.remote.npy import npy_header, read_npy

# A map of two: "__ndarray_class__" -> true, "as_npy" -> raw bytes.
_ARRAY_START = b"\x82\xb1__ndarray_class__\xc3\xa6as_npy"


def groot_writer() -> MessageWriter:
    """Packs messages for GR00T."""
    return MessageWriter(_array_frame, extra="groot")


def read_groot(data: memoryview) -> Any:
    """The message in ``data``.

    Raises:
        MalformedMessageError: it is none.
    """
    return read_message(data, _on_map)


def _array_frame(dtype: np.dtype, shape: tuple[int, ...], num_bytes: int) -> tuple[bytes, bytes]:
    header = npy_header(dtype, shape)
    return _ARRAY_START + bin_header(len(header) + num_bytes) + header, b""


def _on_map(entries: dict[Any, Any]) -> Any:
    if "__ndarray_class__" in entries:
        data = entries.get("as_npy")
        if not isinstance(data, memoryview):
            raise MalformedMessageError("an array without its bytes")
        return read_npy(data)
    if "__ModalityConfig_class__" in entries:
        return entries.get("as_json")
    return entries
