"""Recorded episodes, read back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from holdstep.errors import ConfigError
from holdstep.wrappers.record.columns import Array
from holdstep.wrappers.record.dataset_files import DatasetFiles, find_files
from holdstep.wrappers.record.episode import Episode
from holdstep.wrappers.record.families import is_kept
from holdstep.wrappers.record.formats.hdf5 import (
    EpisodeEntry,
    array_paths,
    array_shape,
    episode_names,
    open_file,
    open_shard,
    read_array,
    read_entry,
    read_env_args,
)

if TYPE_CHECKING:
    import h5py

Success = Literal["all", "succeeded", "failed"]
"""Which episodes of a dataset are meant."""

_MAX_OPEN_FILES = 16


class Dataset(Sequence[Episode]):
    """The episodes of a recording, or of an HDF5 file in the layout of Isaac Lab or robomimic.

    Nothing but names is read until it is asked for: an episode's arrays are read when they are
    looked up, so a dataset may be far larger than memory. It shows what was there when it was
    opened; a recording that goes on is opened anew to see more of it.

    May be handed to worker processes (of a ``DataLoader``, say); each opens the files for itself.

    Args:
        path: a folder that was recorded into, or one ``.hdf5`` file, whoever wrote it.
        success: only episodes that succeeded, or only those that did not; by default all. As in
            Isaac Lab, an episode of which nothing says whether it succeeded did not.

    Attributes:
        path: as given.

    Raises:
        DatasetError: it holds no episodes in a layout that is known, or is damaged.
        ConfigError: ``success`` is none of the three.
        OSError: it is not there, or can't be read.
    """

    def __init__(self, path: str | os.PathLike[str], *, success: Success = "all") -> None:
        if success not in ("all", "succeeded", "failed"):
            raise ConfigError(f"success must be all, succeeded or failed; got {success!r}.")
        self.path = Path(path)
        self._success = success
        self._files: DatasetFiles = find_files(self.path)
        self._open = _OpenFiles()
        self._places = [(file, name) for file in self._files.files for name in self._names_in(file)]

    def _names_in(self, file: Path) -> Iterator[str]:
        shard = self._files.shards.get(file)
        if shard is not None:  # told by the list, without a look into the file
            known = {episode.name: episode.success for episode in shard.episodes}
            yield from (name for name in known if is_kept(known[name], self._success))
            return
        with open_shard(file) as opened:
            for name in episode_names(opened):
                if self._success == "all" or is_kept(
                    read_entry(opened, name).success, self._success
                ):
                    yield name

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> list[Episode]: ...
    def __getitem__(self, index: int | slice) -> Episode | list[Episode]:
        """An episode. Its ``arrays`` are an :class:`EpisodeArrays`, which reads when asked."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        file, name = self._places[index]
        entry = self.entry(index)
        arrays = EpisodeArrays(self._open, file, name)
        return Episode(name, entry.num_steps, arrays, entry.ended, entry.success, entry.attributes)

    def entry(self, index: int) -> EpisodeEntry:
        """What is known about an episode without its arrays.

        Raises:
            IndexError: there is no such episode.
            DatasetError: it is damaged.
        """
        file, name = self._places[index]
        return read_entry(self._open(file), name)

    def entries(self) -> Iterator[EpisodeEntry]:
        """What is known about each episode without its arrays."""
        return (self.entry(index) for index in range(len(self)))

    def file_of(self, index: int) -> Path:
        """The file that an episode is in. Episodes of two files may have the same name."""
        return self._places[index][0]

    @property
    def files(self) -> tuple[Path, ...]:
        """The HDF5 files, in the order of their episodes."""
        return self._files.files

    @cached_property
    def total_steps(self) -> int:
        """Steps of all episodes."""
        return sum(entry.num_steps for entry in self.entries())

    @cached_property
    def env_args(self) -> dict[str, Any]:
        """About the env: ``env_name``, ``sim_args`` and what else the recorder knew."""
        if self._files.env_args is not None:
            return dict(self._files.env_args)
        return read_env_args(self._open(self.files[0])) if self.files else {}

    @cached_property
    def pending(self) -> str | None:
        """Why there are more episodes than these, and what to do; None if these are all.

        Looks into the journal when it is first asked.
        """
        return self._files.pending()

    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Of the first episode's arrays: shapes without the time, and dtypes.

        >>> import tempfile, numpy as np
        >>> from holdstep.wrappers.record.formats.hdf5 import write_shard
        >>> file = Path(tempfile.mkdtemp(), "demos.hdf5")
        >>> steps = {"actions": np.zeros((3, 2)), "obs/policy": np.zeros((3, 4), np.float32)}
        >>> write_shard(file, [Episode("demo_0", 3, steps)], env_args={})
        >>> Dataset(file).shapes()
        {'actions': ((2,), 'float64'), 'obs/policy': ((4,), 'float32')}
        """
        if not len(self):
            return {}
        arrays = self[0].arrays
        assert isinstance(arrays, EpisodeArrays)
        described = {path: arrays.describe(path) for path in arrays}
        return {path: (shape[1:], dtype.name) for path, (shape, dtype) in described.items()}

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        self._open.close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}): {len(self)} episodes in {len(self.files)} files"


class EpisodeArrays(Mapping[str, Array]):
    """The arrays of one episode by path, each read from its file whenever it is looked up."""

    def __init__(self, files: _OpenFiles, file: Path, name: str) -> None:
        self._files = files
        self._file = file
        self._name = name

    @cached_property
    def _paths(self) -> dict[str, None]:
        return dict.fromkeys(array_paths(self._files(self._file), self._name))

    def __getitem__(self, path: str) -> Array:
        if path not in self._paths:
            raise KeyError(path)
        return read_array(self._files(self._file), self._name, path)

    def rows(self, path: str, start: int, stop: int) -> Array:
        """A part of an array: ``[stop - start, ...]``, fewer where it ends before.

        Reads that part alone, or the chunks that it lies in, where the file is compressed.
        """
        if path not in self._paths:
            raise KeyError(path)
        return read_array(self._files(self._file), self._name, path, start=start, stop=stop)

    def describe(self, path: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and dtype of an array, without reading it."""
        if path not in self._paths:
            raise KeyError(path)
        return array_shape(self._files(self._file), self._name, path)

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class _OpenFiles:
    """HDF5 files held open, the most recently used ones; each process has its own."""

    def __init__(self) -> None:
        self._files: dict[Path, h5py.File] = {}
        self._pid = os.getpid()

    def __call__(self, path: Path) -> h5py.File:
        if self._pid != os.getpid():
            # HDF5 does not promise that a forked process can use its parent's open files.
            self._files, self._pid = {}, os.getpid()
        file = self._files.pop(path, None)
        if file is None:
            while len(self._files) >= _MAX_OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            file = open_file(path)
        self._files[path] = file
        return file

    def close(self) -> None:
        if self._pid == os.getpid():
            for file in self._files.values():
                file.close()
        self._files = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": {}, "_pid": -1}
