"""Whole episodes on their way into one HDF5 file, safe from crashes until they are there.

For recorders that hand over finished episodes of any shape, as Isaac Lab's does; those that see
every step use the :class:`~holdstep.wrappers.record.store.EpisodeStore`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from holdstep.errors import RecordingError
from holdstep.wrappers.record.episode import Episode
from holdstep.wrappers.record.files import Buffer, Files, recording_errors
from holdstep.wrappers.record.formats.hdf5 import (
    episode_names,
    list_episodes,
    open_shard,
    read_env_args,
    read_episode,
    write_shard,
)
from holdstep.wrappers.record.records import (
    HEADER_BYTES,
    RecordType,
    is_intact,
    read_header,
    record,
    split_json,
    with_json,
)

_SUFFIX = ".journal"


class EpisodeJournal:
    """Appends episodes to files beside the HDF5 file that they are to go into.

    Beside ``demos.hdf5`` lies the folder ``demos.hdf5.journal`` while there are episodes that are
    not in the file yet. Each run writes a file of its own in there, of checked records, and never
    changes those of other runs; so whatever a crash tore is the end of one of them, and is left
    out. :meth:`finish` makes a new HDF5 file of the old one and of the journal, gives it its name,
    and only then deletes the journal. Nothing that exists is ever truncated.

    Not safe to be used from several threads or processes at once.

    Args:
        target: the HDF5 file, which may exist.
        files: how the disk is changed.

    Attributes:
        names: of all episodes, in the file and in the journal.
        env_args: about the env, as the file or the journal says it.

    Raises:
        DatasetError: the file exists, and is none in the layout of Isaac Lab.
        RecordingError: something can't be written or read.
    """

    def __init__(self, target: Path, *, files: Files | None = None) -> None:
        self.target = target
        self.names: set[str] = set()
        self.env_args: dict[str, Any] = {}
        self._files = files or Files()
        self._folder = journal_of(target)
        self._descriptor: int | None = None
        if target.exists():
            with open_shard(target) as file:
                self.names.update(episode_names(file))
                self.env_args.update(read_env_args(file))
                if "format_version" not in file.attrs:  # Isaac Lab's mark of the order xyzw
                    self.env_args.setdefault("quaternion", "wxyz")
        for payload in self._payloads():
            about, _ = split_json(payload)
            self.env_args.update(about.get("env_args", {}))
            if "name" in about:
                self.names.add(about["name"])

    def append(self, episode: Episode) -> None:
        """Write an episode behind what is there; it is safe after :meth:`sync`.

        Raises:
            RecordingError: it can't be written; none of it counts then.
        """
        # Not ascontiguousarray, which makes a vector of a single number.
        arrays = {path: np.require(a, requirements="C") for path, a in episode.arrays.items()}
        about = {
            "name": episode.name,
            "num_steps": episode.num_steps,
            "success": episode.success,
            "attributes": dict(episode.attributes),
            "arrays": [[path, a.dtype.str, list(a.shape)] for path, a in arrays.items()],
        }
        self._write(with_json(about, *(_bytes_of(array) for array in arrays.values())))
        self.names.add(episode.name)

    def add_env_args(self, env_args: Mapping[str, Any]) -> None:
        """Note things about the env."""
        if env_args.items() <= self.env_args.items():
            return
        self._write(with_json({"env_args": dict(env_args)}))
        self.env_args.update(env_args)

    def sync(self) -> None:
        """Make durable what was appended."""
        if self._descriptor is not None:
            with recording_errors(f"sync the journal of {self.target}"):
                self._files.sync(self._descriptor)

    def finish(self, *, compression: str = "none") -> None:
        """Put everything into the HDF5 file, durably, and delete the journal.

        Raises:
            RecordingError: that did not work; everything is still where it was.
        """
        self._close()
        if self.target.exists() and not self._folder.exists():
            return
        draft = self.target.with_name(f"{self.target.name}.tmp")
        with recording_errors(f"write {self.target}"):
            with contextlib.suppress(FileNotFoundError):
                self._files.unlink(draft)
            self._files.make_folder(self.target.parent)
            with self._old_file() as old:
                write_shard(
                    draft,
                    self._all_episodes(old),
                    env_args=self.env_args,
                    compression=compression,
                    files=self._files,
                )
            self._files.sync_file(draft)
            self._files.rename(draft, self.target)
            self._files.sync_folder(self.target.parent)
            for segment in self._segments():
                self._files.unlink(segment)
            if self._folder.exists():
                self._files.remove_folder(self._folder)

    def abandon(self) -> None:
        """Let go of the journal and leave it where it is, for the next run or a repair."""
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            self._files.close(descriptor)

    def _write(self, parts: list[Buffer]) -> None:
        with recording_errors(f"append to the journal of {self.target}"):
            if self._descriptor is None:
                self._descriptor = self._new_segment()
            try:
                self._files.write(self._descriptor, record(RecordType.EPISODE, 0, parts))
            except BaseException:
                self._close()  # what comes behind half a record would not be found again
                raise

    def _new_segment(self) -> int:
        self._files.make_folder(self._folder)
        number = max((int(path.stem) for path in self._segments()), default=-1) + 1
        descriptor = self._files.create(self._folder / f"{number:06d}.episodes")
        self._files.sync_folder(self._folder)
        self._files.sync_folder(self._folder.parent)
        return descriptor

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.episodes"))

    @contextlib.contextmanager
    def _old_file(self) -> Iterator[Any]:
        if not self.target.exists():
            yield None
            return
        with open_shard(self.target) as file:
            yield file

    def _all_episodes(self, old: Any) -> Iterator[Episode]:
        names: set[str] = set()
        if old is not None:
            for entry in list_episodes(old):
                names.add(entry.name)
                yield read_episode(old, entry.name)
        for payload in self._payloads():
            about, rest = split_json(payload)
            # A run that was killed between its last two operations has left both behind.
            if about.get("name", "") and about["name"] not in names:
                names.add(about["name"])
                yield _episode_of(about, rest)

    def _payloads(self) -> Iterator[memoryview]:
        """Of all records that are whole. One at a time is in memory."""
        for segment in self._segments():
            with recording_errors(f"read {segment}"), segment.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                while True:
                    fields = file.read(HEADER_BYTES)
                    header = read_header(fields)
                    # The rest of the file bounds what a damaged length can make us ask for.
                    if header is None or header.payload_bytes > size - file.tell():
                        break
                    payload = file.read(header.payload_bytes)
                    if not is_intact(fields, [payload]):
                        break
                    yield memoryview(payload)


def journal_of(target: Path) -> Path:
    """The folder that lies beside an HDF5 file while there are episodes that are not in it yet."""
    return target.with_name(target.name + _SUFFIX)


def waiting_names(target: Path) -> set[str]:
    """The names of the episodes that are in the journal of an HDF5 file only.

    Raises:
        DatasetError: the file exists, and is none in the layout of Isaac Lab.
        RecordingError: the journal can't be read.
    """
    if not journal_of(target).is_dir():
        return set()
    names = EpisodeJournal(target).names
    if target.exists():
        with open_shard(target) as file:
            names -= set(episode_names(file))
    return names


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8).data) if array.size else memoryview(b"")


def _episode_of(about: Mapping[str, Any], rest: memoryview) -> Episode:
    arrays, begin = {}, 0
    for path, dtype_name, shape in about["arrays"]:
        dtype = np.dtype(dtype_name)
        end = begin + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        arrays[path] = np.frombuffer(rest[begin:end], dtype).reshape(shape)
        begin = end
    if begin != len(rest):
        raise RecordingError(f"The journal's episode {about['name']!r} does not have its length.")
    return Episode(
        about["name"],
        about["num_steps"],
        arrays,
        success=about["success"],
        attributes=about["attributes"],
    )
