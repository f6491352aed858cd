"""Episodes into an HDF5 file of the layout that Isaac Lab and robomimic read."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5p, h5s, h5t

from holdstep.errors import DatasetError
from holdstep.wrappers.record.files import Files
from holdstep.wrappers.record.formats.hdf5_attributes import JSON_ATTRIBUTE, write_attributes
from holdstep.wrappers.record.formats.hdf5_filters import check_compression, creation_properties

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.columns import Array
    from holdstep.wrappers.record.episode import Episode

LAYOUT_ATTRIBUTES = frozenset({"num_samples", "success", "ended", JSON_ATTRIBUTE})
"""Attributes of an episode that the layout itself has; a user's can't be named like these."""

GYMNASIUM_ENV_TYPE = 2
"""What robomimic calls an env of Gymnasium's in ``env_args["type"]``."""

_BYTES_AN_ARRAY = 4096
_BYTES_A_CHUNK = 256
_BYTES_A_NAME = 64
_SLACK = 1 << 16
"""Far more than HDF5 takes for an array, a chunk of one, a name in a mask, and anything else."""


def _link_properties() -> Any:
    properties = h5p.create(h5p.LINK_CREATE)
    properties.set_char_encoding(h5t.CSET_UTF8)
    return properties


def _group_properties() -> Any:
    properties = h5p.create(h5p.GROUP_CREATE)
    # More attributes than these few would be moved to a heap and an index of their own.
    properties.set_attr_phase_change(64, 48)
    properties.set_obj_track_times(False)  # the same episodes give the same bytes
    return properties


_UTF8_LINKS = _link_properties()
_GROUP = _group_properties()


def write_shard(
    file_path: str | os.PathLike[str],
    episodes: Iterable[Episode],
    *,
    env_args: Mapping[str, Any],
    compression: str = "none",
    masks: Mapping[str, Iterable[str]] | None = None,
    files: Files | None = None,
) -> None:
    """Write episodes to a new file, one after the other.

    One episode is held in memory at a time. The file is complete when this returns; making it
    durable and giving it its final name is the caller's. HDF5 1.10 and later read it.

    Args:
        file_path: of the new file.
        episodes: their names are those of the file's groups below ``/data``; Isaac Lab and
            robomimic expect ``demo_<number>``.
        env_args: about the env, as plain JSON values; ``env_name`` and ``sim_args`` are what Isaac
            Lab looks for. ``quaternion`` is ``"wxyz"`` where poses are in that order: Isaac Lab 3
            turns them into its own order when it reads the file.
        compression: ``"none"``, ``"lz4"``, ``"zstd"`` or ``"gzip"``.
        masks: names of subsets and of the episodes in each: robomimic's filter keys.
        files: how the disk is changed.

    Raises:
        ConfigError: there is no such compression.
        MissingExtraError: the compression needs hdf5plugin.
        DatasetError: two episodes of one name, or an episode that can't be written in this layout.
        OSError: the file exists, or the disk is full.
    """
    path, files = Path(file_path), files or Files()
    writer = ShardWriter(path, env_args=env_args, compression=compression)
    try:
        # HDF5 takes the process down with it when it finds no room.
        for episode in episodes:
            read = dataclasses.replace(episode, arrays=dict(episode.arrays))  # once, if from a file
            files.reserve(path, writer.num_bytes + episode_bytes(read))
            writer.add(read)
        for mask, members in (masks or {}).items():
            names = list(members)
            size = sum(_BYTES_A_NAME + len(name) for name in names)
            files.reserve(path, writer.num_bytes + _SLACK + size)
            writer.add_mask(mask, names)
        # Most often HDF5 has cut off itself what was reserved, and something of its own, too.
        files.truncate(path, min(writer.close(), path.stat().st_size))
    finally:
        writer.abandon()


class ShardWriter:
    """Writes episodes to a file one at a time, for callers that do other things in between.

    The file is complete after :meth:`close`; making it durable and giving it its final name is the
    caller's.

    Args:
        file_path: of the new file; with ``append``, of one that exists, whoever wrote it.
        env_args: about the env, as in :func:`write_shard`; what an existing file says stays.
        compression: ``"none"``, ``"lz4"``, ``"zstd"`` or ``"gzip"``.
        append: whether to add to an existing file.

    Raises:
        ConfigError: there is no such compression.
        MissingExtraError: the compression needs hdf5plugin.
        OSError: the file exists, or does not where it must, or the disk is full.
    """

    def __init__(
        self,
        file_path: str | os.PathLike[str],
        *,
        env_args: Mapping[str, Any],
        compression: str = "none",
        append: bool = False,
    ) -> None:
        check_compression(compression)
        self._compression = compression
        # "x": nothing that exists is ever truncated. Locks are for files that are shared while they
        # grow; this one is its writer's alone until it is renamed.
        mode = "r+" if append else "x"
        self._file = h5py.File(file_path, mode, libver=("v110", "v110"), locking=False)
        if append:
            self._data = self._file["data"].id
            self._names = set(self._file["data"])
            self._total = int(self._file["data"].attrs.get("total", 0))
            return
        if env_args.get("quaternion") != "wxyz":
            self._file.attrs["format_version"] = 1  # Isaac Lab's mark of quaternions as xyzw
        self._data = h5g.create(self._file.id, b"data", gcpl=_GROUP)
        self._names = set()
        self._total = 0
        described = {"env_name": "", "type": GYMNASIUM_ENV_TYPE} | dict(env_args)
        write_attributes(self._data, {"env_args": json.dumps(described)})

    def add(self, episode: Episode) -> None:
        """Write an episode.

        Raises:
            DatasetError: there is one of its name, or it can't be written in this layout.
            OSError: the disk is full.
        """
        if episode.name in self._names:
            raise DatasetError(f"Two episodes are named {episode.name!r}; names must differ.")
        self._names.add(episode.name)
        _write_episode(self._data, episode, self._compression)
        self._total += episode.num_steps

    @property
    def num_bytes(self) -> int:
        """Size of the file so far, as far as it is laid out [byte]."""
        return int(self._file.id.get_filesize())

    def add_mask(self, name: str, members: Iterable[str]) -> None:
        """Name a subset of the episodes: one of robomimic's filter keys."""
        self._file[f"mask/{name}"] = np.array([member.encode() for member in members], dtype="S")

    def close(self) -> int:
        """Hand everything to the system; what was written is complete then.

        Returns:
            Size of the file [byte]. What was reserved behind that may be cut off.

        Raises:
            OSError: the disk is full.
        """
        self._file["data"].attrs["total"] = self._total
        self._file.flush()
        num_bytes = self.num_bytes
        self._file.close()
        return num_bytes

    def abandon(self) -> None:
        """Close a file that nobody needs, without looking at it: it may be unusable."""
        with contextlib.suppress(OSError, RuntimeError):
            self._file.close()


def episode_bytes(episode: Episode) -> int:
    """The most that an episode takes in a file, with all that describes it [byte]."""
    described = len(episode.arrays) * (_BYTES_AN_ARRAY + _BYTES_A_CHUNK * episode.num_steps)
    attributes = len(json.dumps(dict(episode.attributes), default=str))
    return sum(a.nbytes for a in episode.arrays.values()) + described + 4 * attributes + _SLACK


def _write_episode(data: h5g.GroupID, episode: Episode, compression: str) -> None:
    _check(episode)
    name = episode.name.encode()
    demo = h5g.create(data, name, lcpl=_UTF8_LINKS, gcpl=_GROUP)
    attributes: dict[str, Any] = {"num_samples": episode.num_steps, "ended": episode.ended}
    if episode.success is not None:
        attributes["success"] = episode.success
    write_attributes(demo, attributes | dict(episode.attributes))
    folders = {"": demo}
    for path, array in episode.arrays.items():
        folder, _, leaf = path.rpartition("/")
        _write_array(_folder(folders, folder), leaf, array, compression)


def _folder(folders: dict[str, h5g.GroupID], path: str) -> h5g.GroupID:
    found = folders.get(path)
    if found is None:
        parent, _, leaf = path.rpartition("/")
        found = h5g.create(_folder(folders, parent), leaf.encode(), lcpl=_UTF8_LINKS, gcpl=_GROUP)
        folders[path] = found
    return found


def _write_array(folder: h5g.GroupID, name: str, array: Array, compression: str) -> None:
    # Low-level calls: many small arrays are written, and h5py's own interface takes three times as
    # long for each.
    array = np.ascontiguousarray(array)
    dataset = h5d.create(
        folder, name.encode(), *_kind(array.shape, array.dtype, compression), _UTF8_LINKS
    )
    if array.size:
        dataset.write(h5s.ALL, h5s.ALL, array)


@lru_cache(maxsize=1024)
def _kind(shape: tuple[int, ...], dtype: np.dtype[Any], compression: str) -> tuple[Any, Any, Any]:
    """Type, space and properties of a dataset: the same few for all episodes of a length."""
    return (
        h5t.py_create(dtype, logical=True),
        h5s.create_simple(shape),
        creation_properties(shape, dtype, compression),
    )


def _check(episode: Episode) -> None:
    """Refuse what HDF5 would refuse half-way, or what could not be read back as it was."""
    where = f"Episode {episode.name!r}"
    if not _is_name(episode.name):
        raise DatasetError(f"{where} has a name that is no name in a file.")
    reserved = LAYOUT_ATTRIBUTES & set(episode.attributes)
    if reserved:
        raise DatasetError(
            f"{where} has attributes {sorted(reserved)}, which the layout itself uses; rename them."
        )
    folders = {path.rpartition("/")[0] for path in episode.arrays}
    for path, array in episode.arrays.items():
        if not all(map(_is_name, path.split("/"))):
            raise DatasetError(f"{where} has an array {path!r}, which is no path in a file.")
        if any(folder == path or folder.startswith(f"{path}/") for folder in folders):
            raise DatasetError(f"{where} has an array {path!r} and arrays below that name.")
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8 or array.ndim == 0:
            raise DatasetError(
                f"{where}: {path!r} is {array.dtype} {array.shape}; arrays of truth values, "
                "integers or floats, with time as their first axis, can be written."
            )


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and not any(sign in name for sign in "/\0")
