"""The protocols as other programs write them: codecs that share no code with ours.

Written from the published formats (Isaac-GR00T's ``server_client.py``, openpi's
``msgpack_numpy.py``), on top of ``msgpack`` and NumPy's own ``.npy`` functions.
"""

from __future__ import annotations

import io

import msgpack
import numpy as np


def groot_bytes(message) -> bytes:
    def other(value):
        if not isinstance(value, np.ndarray):
            raise TypeError(type(value))
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return {"__ndarray_class__": True, "as_npy": file.getvalue()}

    return msgpack.packb(message, default=other)


def groot_message(data):
    def other(entries):
        if "__ModalityConfig_class__" in entries:
            return ("modality", entries["as_json"])
        if "__ndarray_class__" in entries:
            return np.load(io.BytesIO(entries["as_npy"]), allow_pickle=False)
        return entries

    return msgpack.unpackb(data, object_hook=other)


def openpi_bytes(message) -> bytes:
    def other(value):
        if isinstance(value, np.ndarray):
            return {
                b"__ndarray__": True,
                b"data": value.tobytes(),
                b"dtype": value.dtype.str,
                b"shape": value.shape,
            }
        if isinstance(value, np.generic):
            return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
        raise TypeError(type(value))

    return msgpack.Packer(default=other).pack(message)


def openpi_message(data):
    def other(entries):
        if b"__ndarray__" in entries:
            values = np.frombuffer(entries[b"data"], np.dtype(entries[b"dtype"]))
            return values.reshape(entries[b"shape"])
        if b"__npgeneric__" in entries:
            return np.dtype(entries[b"dtype"]).type(entries[b"data"])
        return entries

    return msgpack.unpackb(data, object_hook=other)
