"""Episodes out of an HDF5 file of the layout of Isaac Lab and robomimic, whoever wrote it.

A file is not trusted: it may be damaged, of another layout, or made to harm. Nothing outside of the
file is read, however it asks for that, and no memory is taken for data that the file does not hold.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import h5py
import numpy as np
from h5py import h5d, h5g, h5o, h5s

from holdstep.errors import DatasetError
from holdstep.wrappers.record.episode import Ended, Episode
from holdstep.wrappers.record.formats.hdf5_attributes import read_attributes
from holdstep.wrappers.record.formats.hdf5_safety import (
    check_dataset,
    find_dataset,
    is_hard_link,
    paths_below,
    text,
)

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import Array


@dataclass(frozen=True)
class EpisodeEntry:
    """What a file says about an episode without its arrays.

    Attributes:
        name: such as ``"demo_12"``.
        num_steps: its length.
        ended: how; as the flags of its last step say, or ``"truncated"``, where the file does not.
        success: whether it succeeded, or None where the file does not say.
        attributes: everything else.
    """

    name: str
    num_steps: int
    ended: Ended = "truncated"
    success: bool | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


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
        entry = _entry(demo, name)
        paths = paths_below(demo.id)
    arrays = {path: _read(demo, path, f"{where}/{path}") for path in paths}
    return Episode(name, entry.num_steps, arrays, entry.ended, entry.success, entry.attributes)


def read_entry(file: h5py.File, name: str) -> EpisodeEntry:
    """What a file says about one episode.

    Raises:
        DatasetError: there is none of this name, or it is damaged.
    """
    with explained(f"{file.filename}: {name}"):
        return _entry(_demo_group(file, name), name)


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
        return _read(_demo_group(file, name), path, where, start, stop)


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


def _read(
    demo: h5py.Group, path: str, where: str, start: int = 0, stop: int | None = None
) -> Array:
    with explained(where):
        dataset = find_dataset(demo.id, path, where)
        check_dataset(dataset, where)
        shape, dtype = dataset.shape, dataset.dtype.newbyteorder("=")
        whole = start == 0 and stop is None
        begin, end, _ = slice(start, stop).indices(shape[0])
        array = np.empty((max(end - begin, 0), *shape[1:]), dtype)
        if not array.size:
            return array
        if whole:
            dataset.read(h5s.ALL, h5s.ALL, array)
        else:
            space = dataset.get_space()
            space.select_hyperslab((begin, *[0] * (array.ndim - 1)), array.shape)
            dataset.read(h5s.create_simple(array.shape), space, array)
        return array


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


def _entry(demo: h5py.Group, name: str) -> EpisodeEntry:
    attributes = read_attributes(demo.attrs)
    num_steps = attributes.pop("num_samples", None)
    if num_steps is None:
        num_steps = _length_of_actions(demo)
    if not isinstance(num_steps, int) or num_steps < 0:
        raise ValueError(f"num_samples is {num_steps!r}, which is no length")
    ended = attributes.pop("ended", None) or _how_it_ended(demo)
    if ended not in get_args(Ended):
        raise ValueError(f"it ended {ended!r}, which is none of {get_args(Ended)}")
    success = attributes.pop("success", None)
    return EpisodeEntry(
        name, num_steps, ended, None if success is None else bool(success), attributes
    )


def _how_it_ended(demo: h5py.Group) -> Ended:
    """As the flags of the last step say, in a file that does not say it otherwise."""
    has_flags = False
    flags: tuple[Ended, ...] = ("terminated", "truncated")
    for flag in flags:
        if is_hard_link(demo.id, flag.encode()):
            has_flags = True
            if _read(demo, flag, f"{demo.name}/{flag}")[-1:].any():
                return flag
    return "reset" if has_flags else "truncated"


def _length_of_actions(demo: h5py.Group) -> int:
    if is_hard_link(demo.id, b"actions"):
        actions = h5o.open(demo.id, b"actions")
        if isinstance(actions, h5d.DatasetID) and actions.rank > 0:
            return int(actions.shape[0])
    raise ValueError("it has neither num_samples nor actions, so that its length is not known")


def _natural_order(name: str) -> tuple[str, int, str]:
    """``demo_2`` before ``demo_10``."""
    stem = name.rstrip("0123456789")
    number = name[len(stem) :]
    return stem, int(number[:18] or -1), name
