"""Isaac Lab's own recorder, writing beside the simulation instead of in its steps.

In an env's configuration (Isaac Lab 2.3 and 3)::

    cfg.recorders.dataset_file_handler_class_type = AsyncHDF5DatasetFileHandler
"""

from __future__ import annotations

import atexit
import importlib
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers.record.episode_file import Durability, EpisodeFile, Quaternion
from holdstep.wrappers.record.formats.hdf5 import check_compression


class AsyncHDF5DatasetFileHandler:
    """A drop-in for Isaac Lab's ``HDF5DatasetFileHandler`` that never waits for a disk.

    Isaac Lab's own handler writes and compresses each episode within ``env.step``, truncates the
    file of an earlier run, and loses everything if the process is killed while it writes. This one
    copies a finished episode (from a GPU into pinned memory, beside the computation) and hands it
    to a thread that appends it to a journal next to the file; :meth:`close` makes the HDF5 file of
    it, which Isaac Lab and robomimic read like their own. After a crash, the next run that records
    to the same file takes the journal along; :func:`~holdstep.wrappers.record.finish_file` does so
    without a run. A second run adds to a file's episodes.

    The file shows a run's episodes when that is closed. Closing takes as long as writing all of
    them, the file's old ones included. Options are chosen by a subclass, see :meth:`configured`.

    Attributes:
        max_queued_bytes: the most that episodes may hold which are not in the journal yet; beyond
            that, the simulation waits [byte].
        durability: what :attr:`num_acknowledged` means: ``"os"``, handed to the operating system,
            which survives a crash of the process; ``"disk"``, also one of the machine.
        compression: of the file: ``"none"``, ``"lz4"``, ``"zstd"`` or ``"gzip"``; None for what
            Isaac Lab asks for.
    """

    max_queued_bytes: ClassVar[int] = 1 << 28
    durability: ClassVar[Durability] = "disk"
    compression: ClassVar[str | None] = None

    def __init__(self) -> None:
        self._file: EpisodeFile | None = None
        self._reader: Any = None
        self._wants_compression = False

    @classmethod
    def configured(
        cls,
        *,
        max_queued_bytes: int = max_queued_bytes,
        durability: Durability = durability,
        compression: str | None = None,
    ) -> type[AsyncHDF5DatasetFileHandler]:
        """A class with other options, since Isaac Lab makes the object itself.

        Raises:
            ConfigError: an option can't be used.
        """
        if durability not in ("os", "disk"):
            raise ConfigError(f"durability must be 'os' or 'disk', got {durability!r}.")
        if max_queued_bytes < 1:
            raise ConfigError(f"max_queued_bytes must be at least 1, got {max_queued_bytes}.")
        if compression is not None:
            check_compression(compression)
        options = {
            "max_queued_bytes": max_queued_bytes,
            "durability": durability,
            "compression": compression,
        }
        return type(cls.__name__, (cls,), options)

    def create(self, file_path: str, env_name: str | None = None) -> None:
        """Record to a file; the episodes that it has, or an earlier run's journal, stay.

        Args:
            file_path: ``.hdf5`` is added where it is missing.
            env_name: of the env.

        Raises:
            RecordingError: somebody else records to it, or something can't be written.
            DatasetError: it exists and is no such file, or has episodes of another env, or
                quaternions in the other order.
        """
        self._check_unused()
        self._file = EpisodeFile(
            Path(file_path if file_path.endswith(".hdf5") else f"{file_path}.hdf5"),
            quaternion=_quaternion(),
            env_name=env_name,
            durability=self.durability,
            max_queued_bytes=self.max_queued_bytes,
        )
        atexit.register(_close, weakref.ref(self))
        self.add_env_args({"type": 2})

    def open(self, file_path: str, mode: str = "r") -> None:
        """Open a file for reading, as Isaac Lab's handler does.

        Raises:
            ConfigError: another mode than ``"r"``; :meth:`create` adds to a file.
        """
        self._check_unused()
        if mode != "r":
            raise ConfigError(
                f"open() reads, with mode 'r'; got {mode!r}. To add episodes to a file, use "
                "create(), which keeps those that it has."
            )
        reader = importlib.import_module("isaaclab.utils.datasets").HDF5DatasetFileHandler()
        reader.open(file_path, mode)
        self._reader = reader

    def add_env_args(self, env_args: Mapping[str, Any]) -> None:
        """Note things about the env, plain JSON values.

        Raises:
            DatasetError: they name another env than that of the episodes which are there.
        """
        self._writing().add_env_args(env_args)

    def set_env_name(self, env_name: str) -> None:
        """Set the env's name; an empty one says nothing.

        Raises:
            DatasetError: it is another one than that of the episodes which are there.
        """
        if env_name:
            self.add_env_args({"env_name": env_name})

    def get_env_name(self) -> str | None:
        """The env's name."""
        if self._reader is not None:
            name: str | None = self._reader.get_env_name()
            return name
        return self._writing().env_args.get("env_name")

    def get_episode_names(self) -> Iterator[str]:
        """The names of the episodes."""
        source = self._writing().names if self._reader is None else self._reader.get_episode_names()
        return iter(source)

    def get_num_episodes(self) -> int:
        """How many episodes there are, those included that an earlier run has recorded."""
        if self._reader is None:
            return len(self._writing().names)
        return int(self._reader.get_num_episodes())

    @property
    def demo_count(self) -> int:
        """The same."""
        return self.get_num_episodes()

    @property
    def num_acknowledged(self) -> int:
        """Episodes of this run that are safe, in the sense of :attr:`durability`."""
        return self._writing().num_acknowledged

    def load_episode(self, episode_name: str, *args: Any, **kwargs: Any) -> Any:
        """Read an episode of a file that was opened; see Isaac Lab's handler."""
        if self._reader is None:
            raise RecordingError("Episodes can be loaded from a file that was opened by open().")
        return self._reader.load_episode(episode_name, *args, **kwargs)

    def write_episode(
        self, episode: Any, demo_id: int | None = None, dataset_compression: bool = True
    ) -> None:
        """Hand over a copy of an episode; returns before it is written.

        Args:
            episode: Isaac Lab's ``EpisodeData``, exported; it may be changed afterwards.
            demo_id: the episode is named ``demo_<demo_id>``; by default, it gets the next number.
            dataset_compression: compress the file (Isaac Lab 3 says so for each episode).

        Raises:
            ValueError: there is an episode of this name already.
            RecordingError: an earlier episode could not be written.
        """
        file = self._writing()
        if episode.is_empty():
            return
        file.write(
            episode.data,
            number=demo_id,
            success=None if episode.success is None else bool(episode.success),
            attributes={} if episode.seed is None else {"seed": _plain(episode.seed)},
        )
        self._wants_compression = dataset_compression

    def flush(self) -> None:
        """Nothing to wait for; Isaac Lab calls it in each step that exports an episode.

        Raises:
            RecordingError: an earlier episode could not be written.
        """
        self._writing().check()

    def wait(self) -> None:
        """Return when every episode so far is acknowledged.

        Raises:
            RecordingError: one could not be written.
        """
        self._writing().wait()

    def close(self) -> None:
        """Write the HDF5 file and let go of it; may be called again.

        Raises:
            RecordingError: something could not be written. What was acknowledged is in the file or
                in the journal beside it.
        """
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        file, self._file = self._file, None
        if file is not None:
            asked_for = "gzip" if self._wants_compression else "none"
            file.close(compression=self.compression or asked_for)

    def __del__(self) -> None:
        # As Isaac Lab's handler, for scripts that forget to.
        if getattr(self, "_file", None) is not None:
            self.close()

    def _check_unused(self) -> None:
        if self._file is not None or self._reader is not None:
            raise RecordingError("This handler has a file already: close() it first.")

    def _writing(self) -> EpisodeFile:
        if self._file is None:
            raise RecordingError("This handler records to no file: create() one first.")
        return self._file


def _close(reference: weakref.ref[AsyncHDF5DatasetFileHandler]) -> None:
    handler = reference()
    if handler is not None:
        handler.close()


def _quaternion() -> Quaternion:
    """The order in which the Isaac Lab that is installed has quaternions."""
    module = importlib.import_module("isaaclab.utils.datasets.hdf5_dataset_file_handler")
    return "xyzw" if hasattr(module, "DATASET_FORMAT_VERSION") else "wxyz"


def _plain(seed: Any) -> Any:
    if isinstance(seed, torch.Tensor | np.generic | np.ndarray):
        return seed.item()
    return seed
