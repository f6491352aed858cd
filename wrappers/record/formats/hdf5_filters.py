"""How arrays lie in an HDF5 file: compression, chunks, and what is needed to read them again."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from h5py import h5d, h5p, h5z

from holdstep.errors import ConfigError
from holdstep.extras import require

Compression = Literal["none", "lz4", "zstd", "gzip"]

_CHUNK_BYTES = 256 * 1024
"""Of low-dimensional columns: large enough to compress, small enough to read a short window."""

_FRAME_BYTES = 8 * 1024
"""A row of this size is an image or as good as one, and is a chunk of its own."""

_PLUGIN_FILTERS = range(256, 65536)
"""Filter ids that are not HDF5's own."""


def check_compression(compression: str) -> None:
    """Refuse a compression that does not exist or whose package is not installed.

    Raises:
        ConfigError: there is no such compression.
        MissingExtraError: it needs hdf5plugin.
    """
    if compression not in get_args(Compression):
        raise ConfigError(
            f"compression must be one of {', '.join(get_args(Compression))}; got {compression!r}."
        )
    if compression in ("lz4", "zstd"):
        _hdf5plugin(f"compression={compression!r}")


def creation_properties(shape: tuple[int, ...], dtype: np.dtype[Any], compression: str) -> Any:
    """How to create a dataset for one array, as a low-level property list.

    Without compression an array is one contiguous run of bytes: the fastest to write, and any frame
    of it can be read alone. Compressed, images are one frame per chunk, since training reads single
    frames; what is smaller than a file's own bookkeeping is left uncompressed.

    Args:
        shape: of the array; time comes first.
        dtype: of the array.
        compression: one that :func:`check_compression` let pass.
    """
    num_bytes = math.prod(shape) * dtype.itemsize
    if compression == "none" or num_bytes < 1024:
        return _contiguous()
    row_bytes = num_bytes // shape[0]
    rows = 1 if row_bytes >= _FRAME_BYTES else min(shape[0], _CHUNK_BYTES // row_bytes)
    return _chunked((rows, *shape[1:]), dtype.itemsize, compression)


@lru_cache(maxsize=1)
def _contiguous() -> Any:
    return _bare_properties()


@lru_cache(maxsize=256)
def _chunked(chunk: tuple[int, ...], item_bytes: int, compression: str) -> Any:
    properties = _bare_properties()
    properties.set_chunk(chunk)
    if compression == "gzip":
        if item_bytes > 1:
            properties.set_shuffle()
        properties.set_deflate(2)
        return properties
    plugin = _hdf5plugin(f"compression={compression!r}")
    # Bytes of floats compress by their position in the number; images have one byte per number.
    if compression == "lz4":
        chosen = plugin.Bitshuffle(cname="lz4") if item_bytes > 1 else plugin.LZ4()
    else:
        if item_bytes > 1:
            properties.set_shuffle()
        chosen = plugin.Zstd(clevel=1)
    properties.set_filter(chosen.filter_id, h5z.FLAG_MANDATORY, chosen.filter_options)
    return properties


def _bare_properties() -> Any:
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_fill_time(h5d.FILL_TIME_NEVER)  # every array is written whole
    properties.set_obj_track_times(False)  # the same episodes give the same bytes
    return properties


def import_filters(properties: Any, where: str) -> None:
    """Make sure that a dataset's filters can be undone.

    Args:
        properties: the dataset's creation properties.
        where: what is read, for the message.

    Raises:
        MissingExtraError: hdf5plugin is needed, and is not installed.
    """
    for index in range(properties.get_nfilters()):
        code = properties.get_filter(index)[0]
        if code in _PLUGIN_FILTERS and not h5z.filter_avail(code):
            _hdf5plugin(f"{where} is compressed with HDF5 filter {code}; reading it")


def _hdf5plugin(purpose: str) -> Any:
    """hdf5plugin, which registers its filters when it is imported."""
    return require("hdf5plugin", extra="compression", purpose=purpose)
