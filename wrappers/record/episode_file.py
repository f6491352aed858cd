"""One HDF5 file that whole episodes are recorded into, beside whatever makes them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from holdstep.errors import DatasetError
from holdstep.wrappers.record.episode import Episode
from holdstep.wrappers.record.episode_journal import EpisodeJournal
from holdstep.wrappers.record.host_copy import HostCopy
from holdstep.wrappers.record.lock import FolderLock
from holdstep.wrappers.record.worker import Worker

Durability = Literal["os", "disk"]
Quaternion = Literal["wxyz", "xyzw"]


class EpisodeFile:
    """Takes episodes by copy and writes them in a thread of its own; for one run.

    Args:
        path: the file, which may exist: its episodes stay, as do those that an earlier run has left
            in the journal beside it.
        quaternion: in which order the episodes have theirs.
        env_name: of the env they are recorded from; None where it is not known.
        durability: what :attr:`num_acknowledged` means, see
            :class:`~holdstep.wrappers.record.AsyncHDF5DatasetFileHandler`.
        max_queued_bytes: the most that episodes may hold which are not in the journal yet [byte].

    Attributes:
        env_args: about the env.
        num_acknowledged: episodes of this run that are safe.

    Raises:
        RecordingError: somebody else records to it, or something can't be written.
        DatasetError: it exists and is no such file, or has episodes of another env, or quaternions
            in the other order.
    """

    def __init__(
        self,
        path: Path,
        *,
        quaternion: Quaternion,
        env_name: str | None = None,
        durability: Durability = "disk",
        max_queued_bytes: int = 1 << 28,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path)
        try:
            self._journal = EpisodeJournal(path)
            _check_quaternions(self._journal, quaternion)
            _check_env_name(self._journal, env_name)
        except BaseException:
            self._lock.release()
            raise
        self._syncs = durability == "disk"
        self._names = set(self._journal.names)
        self.env_args = dict(self._journal.env_args)
        self.num_acknowledged = 0
        self._worker = Worker(f"recorder of {path}", max_bytes=max_queued_bytes)
        if quaternion == "wxyz":  # the other order goes without saying
            self.add_env_args({"quaternion": quaternion})
        if env_name:
            self.add_env_args({"env_name": env_name})

    @property
    def names(self) -> list[str]:
        """Of all episodes, those included that an earlier run has recorded."""
        return sorted(self._names)

    def add_env_args(self, env_args: Mapping[str, Any]) -> None:
        """Note things about the env, plain JSON values.

        Raises:
            DatasetError: they name another env than the one that earlier runs recorded.
        """
        _check_env_name(self._journal, env_args.get("env_name"))
        if env_args.items() <= self.env_args.items():
            return
        self.env_args.update(env_args)
        job = functools.partial(self._journal.add_env_args, dict(env_args))
        self._worker.submit(job, num_bytes=0)

    def write(
        self,
        data: Mapping[str, Any],
        *,
        number: int | None,
        success: bool | None,
        attributes: Mapping[str, Any],
    ) -> None:
        """Hand over a copy of an episode; returns before it is written.

        Args:
            data: tensors ``[T, ...]`` by path, or mappings of them.
            number: it is named ``demo_<number>``; None for the next one.
            success: whether it succeeded, or None where nothing says.
            attributes: plain JSON values.

        Raises:
            DatasetError: there is an episode of this number already.
            RecordingError: an earlier episode could not be written.
        """
        name = self._next_name() if number is None else f"demo_{number}"
        if name in self._names:
            raise DatasetError(
                f"There is an episode {name!r} already. Give numbers that are not taken, or none."
            )
        copy = HostCopy(data)

        def write() -> None:
            arrays = copy.arrays()
            num_steps = len(arrays["actions"]) if "actions" in arrays else 0
            self._journal.append(
                Episode(name, num_steps, arrays, success=success, attributes=attributes)
            )
            if self._syncs:
                self._journal.sync()
            self.num_acknowledged += 1

        self._worker.submit(write, num_bytes=copy.num_bytes)
        self._names.add(name)  # only now: what could not be handed over does not take a name

    def check(self) -> None:
        """Raise the error of an episode that could not be written, if there is one."""
        self._worker.check()

    def wait(self) -> None:
        """Return when every episode so far is acknowledged.

        Raises:
            RecordingError: one could not be written.
        """
        self._worker.wait()

    def close(self, *, compression: str) -> None:
        """Put everything into the file, and let go of it.

        Raises:
            RecordingError: something could not be written. What was acknowledged is in the file or
                in the journal beside it.
        """
        try:
            try:
                self._worker.close()
            except BaseException:
                self._journal.abandon()
                raise
            self._journal.finish(compression=compression)
        finally:
            self._lock.release()

    def _next_name(self) -> str:
        number = len(self._names)
        while f"demo_{number}" in self._names:  # somebody may have chosen it
            number += 1
        return f"demo_{number}"


def finish_file(file_path: str, *, compression: str = "none") -> int:
    """Make the HDF5 file that a run would have made at its end, had it not been killed.

    Args:
        file_path: the file, ``.hdf5`` included.
        compression: of the file.

    Returns:
        How many episodes it has.

    Raises:
        RecordingError: a run records to it now, or it can't be written.
        DatasetError: it exists and is no such file.
    """
    path = Path(file_path)
    lock = _locked(path)
    try:
        journal = EpisodeJournal(path)
        journal.finish(compression=compression)
        return len(journal.names)
    finally:
        lock.release()


def _locked(path: Path) -> FolderLock:
    return FolderLock(path.with_name(f"{path.name}.lock"))


def _check_env_name(journal: EpisodeJournal, here: str | None) -> None:
    there = journal.env_args.get("env_name")
    if journal.names and here and there and here != there:
        raise DatasetError(
            f"{journal.target} holds episodes of {there!r}; those of {here!r} can't be added to "
            "it. Record to another file."
        )


def _check_quaternions(journal: EpisodeJournal, here: Quaternion) -> None:
    there = journal.env_args.get("quaternion", "xyzw")
    if journal.names and here != there:
        raise DatasetError(
            f"{journal.target} has quaternions in the order {there}, and this Isaac Lab in the "
            f"order {here}. Record to another file, or convert that one first (Isaac Lab 3: "
            "HDF5DatasetFileHandler.convert_dataset_to_xyzw)."
        )
