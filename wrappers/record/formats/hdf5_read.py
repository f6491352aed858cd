"""Episodes out of an HDF5 file of the layout of Isaac Lab and robomimic, whoever wrote it.

A file is not trusted: it may be damaged, of another layout, or made to harm. Nothing outside of the
file is read, however it asks for that, and no memory is taken for data that the file does not hold.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from h5py import h5g, h5o

from holdstep.errors import DatasetError
from holdstep.wrappers.record.episode import Episode
from holdstep.wrappers.record.formats.hdf5_attributes import read_attributes
from holdstep.wrappers.record.formats.hdf5_entry import EpisodeEntry, entry_of
from holdstep.wrappers.record.formats.hdf5_safety import (
    check_dataset,
    explained,
    find_dataset,
    is_hard_link,
    paths_below,
    text,
)
from holdstep.wrappers.record.formats.hdf5_values import read_values

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import Array


def open_file(path: str | os.PathLike[str]) -> h5py.File:
    """An HDF5 file, open for reading; the caller closes it.

    Raises:
        DatasetError: it is no HDF5 file, or is damaged.
        OSError: it is not there, or can't be read.
    """
    with explained(os.fspath(path)):
        # Files are read-only here, and a lock could not be had on some network file systems.
        return h5py.File(path, "r", locking=False)


@contextlib.contextmanager
def open_shard(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """As :func:`open_file`, closed at the end of the block."""
    with open_file(path) as file:
        yield file


def episode_names(file: h5py.File) -> list[str]:
    """The names of a file's episodes, in the order of their numbers.

    Raises:
        DatasetError: the file has no group of episodes, or is damaged.
    """
    data = _data_group(file)
    with explained(file.filename):
        return sorted((text(name) for name in data.id), key=_natural_order)


def list_episodes(file: h5py.File) -> list[EpisodeEntry]:
    """The episodes of a file in the order of their numbers, without their arrays.

    Raises:
        DatasetError: the file has no group of episodes, or is damaged.
    """
    return [read_entry(file, name) for name in episode_names(file)]


def read_episode(file: h5py.File, name: str) -> Episode:
    """An episode with all of its arrays.

    Raises:
        DatasetError: there is none of this name, or it is damaged.
        MissingExtraError: it is compressed in a way that needs hdf5plugin.
    """
    where = f"{file.filename}: {name}"
    with explained(where):
        demo = _demo_group(file, name)
        entry = entry_of(demo, name)
        paths = paths_below(demo.id)
    arrays = {path: read_values(demo, path, f"{where}/{path}") for path in paths}
    return Episode(name, entry.num_steps, arrays, entry.ended, entry.success, entry.attributes)


def read_entry(file: h5py.File, name: str) -> EpisodeEntry:
    """What a file says about one episode.

    Raises:
        DatasetError: there is none of this name, or it is damaged.
    """
    with explained(f"{file.filename}: {name}"):
        return entry_of(_demo_group(file, name), name)


def read_env_args(file: h5py.File) -> dict[str, Any]:
    """What a file says about the env.

    ``quaternion`` is ``"wxyz"`` in those of Isaac Lab 2, which lack the mark of the other order.

    Raises:
        DatasetError: it is no JSON object.
    """
    with explained(f"{file.filename}: env_args"):
        content = json.loads(read_attributes(_data_group(file).attrs).get("env_args", "{}"))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        if "format_version" not in file.attrs:
            content.setdefault("quaternion", "wxyz")
        return content


def read_total(file: h5py.File) -> int | None:
    """How many steps a file says that its episodes have; None if it does not say.

    Raises:
        DatasetError: what it says is no number.
    """
    with explained(f"{file.filename}: total"):
        total = read_attributes(_data_group(file).attrs).get("total")
        return None if total is None else int(total)


def array_paths(file: h5py.File, name: str) -> list[str]:
    """Paths of an episode's arrays, such as ``["actions", "obs/policy"]``.

    Raises:
        DatasetError: there is no such episode, or it is damaged.
    """
    with explained(f"{file.filename}: {name}"):
        demo = _demo_group(file, name)
        return paths_below(demo.id)


def read_array(
    file: h5py.File, name: str, path: str, *, start: int = 0, stop: int | None = None
) -> Array:
    """One array of an episode, or a part of it.

    Args:
        file: an open file.
        name: the episode's.
        path: such as ``"obs/policy"``.
        start: the first row.
        stop: behind the last row; None for all.

    Returns:
        ``[stop - start, ...]``, in memory of its own.

    Raises:
        DatasetError: there is no such array, it is damaged, or it claims to hold what is not there.
        MissingExtraError: it is compressed in a way that needs hdf5plugin.
    """
    where = f"{file.filename}: {name}/{path}"
    with explained(where):
        return read_values(_demo_group(file, name), path, where, start, stop)


def array_shape(file: h5py.File, name: str, path: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of one array of an episode.

    Raises:
        DatasetError: there is no such array, or it claims to hold what is not there.
    """
    where = f"{file.filename}: {name}/{path}"
    with explained(where):
        dataset = find_dataset(_demo_group(file, name).id, path, where)
        check_dataset(dataset, where)
        return dataset.shape, dataset.dtype.newbyteorder("=")


def _data_group(file: h5py.File) -> h5py.Group:
    with explained(file.filename):
        if is_hard_link(file.id, b"data"):
            data = h5o.open(file.id, b"data")
            if isinstance(data, h5g.GroupID):
                return h5py.Group(data)
    raise DatasetError(
        f"{file.filename} has no group /data, where Isaac Lab, robomimic and holdstep keep "
        "episodes."
    )


def _demo_group(file: h5py.File, name: str) -> h5py.Group:
    data = _data_group(file).id
    key = name.encode("utf-8", "surrogateescape")
    if not name or "/" in name or key not in data:
        raise DatasetError(f"{file.filename} has no episode {name!r}.")
    if not is_hard_link(data, key):
        raise DatasetError(f"{file.filename}: {name} is a link to elsewhere; not followed.")
    demo = h5o.open(data, key)
    if not isinstance(demo, h5g.GroupID):
        raise DatasetError(f"{file.filename}: /data/{name} is no group, as an episode would be.")
    return h5py.Group(demo)


def _natural_order(name: str) -> tuple[str, int, str]:
    """``demo_2`` before ``demo_10``."""
    stem = name.rstrip("0123456789")
    number = name[len(stem) :]
    return stem, int(number[:18] or -1), name
