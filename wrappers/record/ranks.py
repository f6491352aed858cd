"""Several processes that record one dataset, each into a folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers.record.files import Files, recording_errors
from holdstep.wrappers.record.folder import RecordingFolder
from holdstep.wrappers.record.lock import FolderLock
from holdstep.wrappers.record.manifest import Manifest, Shard

RANK_FOLDERS = "rank-*"
"""Pattern of the processes' folders in that of the dataset; each one is a recording."""

_FOLDER = "rank-{:05d}"


@dataclass(frozen=True)
class Rank:
    """One of the processes that ``torchrun``, or anything else that sets its variables, started.

    They need not know each other: each records into its own folder, its share of the episodes, from
    its own seeds. One that dies costs the others nothing, and goes on where it was when it is
    started again.

    Attributes:
        number: of this process, from 0.
        world_size: how many there are.

    Raises:
        ConfigError: the number is not below the world size.
    """

    number: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.world_size:
            raise ConfigError(
                f"RANK must lie in [0, WORLD_SIZE), got RANK={self.number} and "
                f"WORLD_SIZE={self.world_size}."
            )

    @classmethod
    def of_environment(cls, variables: Mapping[str, str] = os.environ) -> Rank:
        """The one that ``RANK`` and ``WORLD_SIZE`` speak of; the only one where they are not set.

        Raises:
            ConfigError: they are no such numbers.
        """
        try:
            return cls(int(variables.get("RANK", "0")), int(variables.get("WORLD_SIZE", "1")))
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"RANK and WORLD_SIZE must be integers: {error}.") from error

    def folder(self, path: Path) -> Path:
        """Where this process records.

        Args:
            path: of the dataset.

        Raises:
            ConfigError: the dataset was recorded by a single process, or is one file.
        """
        ranks = path.is_dir() and any(path.glob(RANK_FOLDERS))
        if self.world_size == 1 and not ranks:
            return path
        if path.suffix in (".hdf5", ".h5"):
            raise ConfigError(
                f"Several processes record into a folder, and {path} is one file. Name a folder; "
                "`holdstep dataset merge` makes one file of it afterwards."
            )
        if RecordingFolder(path).schema.exists():
            raise ConfigError(
                f"{path} was recorded by a single process. Go on with one, or let several record "
                "into another folder; `holdstep dataset merge` puts both together."
            )
        return path / _FOLDER.format(self.number)

    def share(self, path: Path, num_episodes: int) -> int:
        """How many of the dataset's episodes are this process's.

        What ranks beyond the world size have recorded, in an earlier run of more processes, is
        there already.

        Args:
            path: of the dataset.
            num_episodes: in the whole dataset.
        """
        others = (
            folder for folder in path.glob(RANK_FOLDERS) if _number(folder) >= self.world_size
        )
        there = sum(sum(1 for _ in _manifest(folder).episodes()) for folder in others)
        whole, rest = divmod(max(0, num_episodes - there), self.world_size)
        return whole + (self.number < rest)

    def seed(self, seed: int, *so_far: int) -> int:
        """A seed that no other rank has, nor this one at another time.

        Args:
            seed: of the run.
            *so_far: what the run has come to, such as the number of episodes.

        Returns:
            From 0 to ``2**31 - 1``.
        """
        sequence = np.random.SeedSequence([seed, self.number, *so_far])
        return int(sequence.generate_state(1)[0] >> 1)


def merge_manifests(path: Path, *, files: Files | None = None) -> Manifest:
    """List the finished files of all ranks in ``<path>/manifest.json``.

    Every rank does so at its end, one at a time, so the last one to end lists everything. Tools of
    holdstep look into the ranks' folders themselves.

    Args:
        path: of the dataset.
        files: how the disk is changed.

    Raises:
        RecordingError: a list is damaged, or the new one can't be written.
    """
    merged = RecordingFolder(path)
    # Without the lock, a rank could put an older list over that of the last one, too.
    lock = FolderLock(merged.lock, waits=True)
    try:
        manifest = Manifest(tuple(_shards_of_ranks(path)))
        with recording_errors(f"write {merged.manifest}"):
            manifest.write(merged.manifest, files or Files())
    finally:
        lock.release()
    return manifest


@contextlib.contextmanager
def listing(rank_folder: Path, path: Path) -> Iterator[None]:
    """Merge the manifests at the end of the block, where the dataset is one of ranks.

    The list is a convenience, and what the block recorded is safe without it: if it can't be
    written, this warns.

    Args:
        rank_folder: that this process records into.
        path: of the dataset.
    """
    try:
        yield
    finally:
        if rank_folder != path and path.is_dir():
            try:
                merge_manifests(path)
            except RecordingError as error:
                warnings.warn(
                    f"The episodes of {rank_folder} are safe, but {path / 'manifest.json'} does "
                    f"not list them: {error}",
                    RuntimeWarning,
                    stacklevel=3,
                )


def _shards_of_ranks(path: Path) -> Iterator[Shard]:
    for folder in sorted(path.glob(RANK_FOLDERS)):
        for shard in _manifest(folder).shards:
            yield dataclasses.replace(shard, file=f"{folder.name}/{shard.file}")


def _number(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _manifest(folder: Path) -> Manifest:
    try:
        return Manifest.read(RecordingFolder(folder).manifest)
    except FileNotFoundError:  # nothing has been finished yet
        return Manifest()
