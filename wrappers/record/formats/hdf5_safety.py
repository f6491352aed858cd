"""What is refused in an HDF5 file, since nobody knows who wrote it.

Nothing outside of the file is read, however it asks for that, and no memory is taken for data that
the file does not hold.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

from h5py import h5d, h5g, h5l, h5o

from holdstep.errors import DatasetError
from holdstep.wrappers.record.formats.hdf5_filters import import_filters

_MAX_DEPTH = 16
_MAX_OBJECTS = 10_000
_MAX_CHUNK_BYTES = 1 << 30
"""Bounds of what one episode may consist of; groups can contain themselves."""


def paths_below(group: h5g.GroupID) -> list[str]:
    """Paths of the arrays below a group.

    Raises:
        ValueError: something is no array and no group, or lies elsewhere, or there is no end.
    """
    paths: list[str] = []
    num_seen = 0
    to_visit = [("", group, 0)]
    while to_visit:
        prefix, group, depth = to_visit.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"groups lie more than {_MAX_DEPTH} deep at {prefix[:80]!r}")
        for name in group:
            num_seen += 1
            if num_seen > _MAX_OBJECTS:
                raise ValueError(f"it has more than {_MAX_OBJECTS} parts, which is no episode")
            path = f"{prefix}{text(name)}"
            if not is_hard_link(group, name):
                raise ValueError(f"{path!r} is a link to elsewhere, which is not followed")
            child = h5o.open(group, name)
            if isinstance(child, h5g.GroupID):
                to_visit.append((f"{path}/", child, depth + 1))
            elif isinstance(child, h5d.DatasetID):
                paths.append(path)
            else:
                raise ValueError(f"{path!r} is neither an array nor a group")
    return sorted(paths)


def find_dataset(demo: h5g.GroupID, path: str, where: str) -> h5d.DatasetID:
    """The array of a path below a group.

    Raises:
        DatasetError: there is none.
    """
    group: Any = demo
    for name in path.encode("utf-8", "surrogateescape").split(b"/"):
        known = isinstance(group, h5g.GroupID) and name not in (b"", b".")
        if not known or not is_hard_link(group, name):
            raise DatasetError(f"{where}: there is no such array.")
        group = h5o.open(group, name)
    if not isinstance(group, h5d.DatasetID):
        raise DatasetError(f"{where} is a group, not an array.")
    return group


def check_dataset(dataset: h5d.DatasetID, where: str) -> None:
    """Refuse an array whose data are elsewhere, are not there, or are no numbers.

    Raises:
        DatasetError: it is one of these.
        MissingExtraError: it is compressed in a way that needs hdf5plugin.
    """
    dtype, shape = dataset.dtype, dataset.shape
    if dtype.kind not in "biuf" or shape is None or len(shape) == 0:
        raise DatasetError(f"{where} is {dtype} {shape}; an episode has arrays of numbers.")
    properties = dataset.get_create_plist()
    layout = properties.get_layout()
    if layout == h5d.VIRTUAL or properties.get_external_count():
        raise DatasetError(f"{where} has its data in other files, which are not read.")
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes > _memory_bytes():
        raise DatasetError(
            f"{where} claims to be {dtype} {shape}, which is more than the memory of this machine."
        )
    import_filters(properties, where)
    stored = dataset.get_storage_size()
    if layout == h5d.CHUNKED:
        chunk = properties.get_chunk()
        chunk_bytes = math.prod(chunk) * dtype.itemsize
        wanted = math.prod(-(-size // length) for size, length in zip(shape, chunk, strict=True))
        if chunk_bytes > _MAX_CHUNK_BYTES or dataset.get_num_chunks() < wanted:
            raise DatasetError(
                f"{where} claims to be {dtype} {shape}, of which the file holds {stored} bytes in "
                f"{dataset.get_num_chunks()} of {wanted} chunks."
            )
    elif stored < num_bytes:
        raise DatasetError(
            f"{where} claims to be {dtype} {shape}, of which the file holds {stored} bytes."
        )


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def is_hard_link(group: Any, name: bytes) -> bool:
    """Whether a name stands for something in this file itself: other links can lead anywhere."""
    try:
        return bool(group.links.get_info(name).type == h5l.TYPE_HARD)
    except (KeyError, RuntimeError):
        if name in group:
            raise
        return False


def text(name: bytes) -> str:
    """A name in a file, as it can be printed and looked up again."""
    return name.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what h5py raises about damaged files into a :class:`DatasetError`."""
    try:
        yield
    except DatasetError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError, ImportError):
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError) as error:
        raise DatasetError(
            f"{where} can't be read: {_first_line(error)}. It is damaged, or no file of episodes."
        ) from error
    except MemoryError as error:
        raise DatasetError(f"{where} needs more memory than this machine can give.") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
