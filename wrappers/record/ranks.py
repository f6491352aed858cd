"""Several processes that record one dataset, each into a folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers.record.files import Files, recording_errors
from holdstep.wrappers.record.folder import SINGLE_FILE_SUFFIXES, RecordingFolder
from holdstep.wrappers.record.lock import FolderLock
from holdstep.wrappers.record.manifest import Manifest, Shard
from holdstep.wrappers.record.scan import scan

if TYPE_CHECKING:
    from holdstep.distributed import Rank

_FOLDER = "rank-{:05d}"
_FOLDERS = "rank-*"


def rank_folder(rank: Rank, path: Path) -> Path:
    """Where a process records.

    Ranks need not know each other: each records into its own folder, its share of the episodes,
    from its own seeds. One that dies costs the others nothing, and goes on where it was when it is
    started again.

    Args:
        rank: the process.
        path: of the dataset.

    Raises:
        ConfigError: the dataset was recorded by a single process, or is one file.
    """
    if rank.world_size == 1 and not rank_folders(path):
        return path
    if path.suffix in SINGLE_FILE_SUFFIXES:
        raise ConfigError(
            f"Several processes record into a folder, and {path} is one file. Name a folder; "
            "`holdstep dataset merge` makes one file of it afterwards."
        )
    if RecordingFolder(path).schema.exists():
        raise ConfigError(
            f"{path} was recorded by a single process. Go on with one, or let several record "
            "into another folder; `holdstep dataset merge` puts both together."
        )
    return path / _FOLDER.format(rank.number)


def rank_folders(path: Path) -> list[Path]:
    """The processes' folders in that of a dataset, in their order; none in one that is no such."""
    return sorted(path.glob(_FOLDERS)) if path.is_dir() else []


def recorded_ranks(path: Path) -> list[Path]:
    """The processes' folders that anything was recorded into.

    One that was killed in its very first moments leaves a folder that holds nothing to lose.
    """

    def holds_something(folder: RecordingFolder) -> bool:
        begun = folder.schema.exists() or bool(folder.shard_files())
        return begun or (folder.journal.is_dir() and any(folder.journal.iterdir()))

    return [path for path in rank_folders(path) if holds_something(RecordingFolder(path))]


def rank_share(rank: Rank, path: Path, num_episodes: int) -> int:
    """How many of a dataset's episodes are a process's.

    Nobody looks how far the others are, so that all come to the same shares whenever they start.
    What ranks beyond the world size have recorded, in an earlier run of more processes, is there
    already, if only in their journals.

    Args:
        rank: the process.
        path: of the dataset.
        num_episodes: in the whole dataset.

    Raises:
        RecordingError: what others have recorded is damaged, or can't be read.
    """
    others = (folder for folder in rank_folders(path) if _number(folder) >= rank.world_size)
    return len(rank.numbers(num_episodes - sum(map(_num_recorded, others))))


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
        manifest = Manifest(tuple(shards_of_ranks(path)))
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


def list_problem(path: Path) -> str | None:
    """What is wrong with ``<path>/manifest.json``; None if nothing is, or there are no ranks.

    It is stale where the last rank to end was killed, or other ranks have recorded since.
    """
    if not rank_folders(path):  # it may be one file, too
        return None
    try:
        listed = Manifest.read(RecordingFolder(path).manifest)
        there = list(shards_of_ranks(path))
    except FileNotFoundError:
        return None
    except RecordingError as error:
        return str(error)
    num_missing = len(set(there) - set(listed.shards))
    num_gone = len(set(listed.shards) - set(there))
    if not (num_missing or num_gone):
        return None
    return (
        f"it lacks {num_missing} of the ranks' {len(there)} files, and lists {num_gone} that are "
        "not there; `holdstep dataset repair` makes it anew, and so does the next rank to end"
    )


def shards_of_ranks(path: Path) -> Iterator[Shard]:
    """The finished files of all ranks, named as from the folder of the dataset.

    Raises:
        RecordingError: a list is damaged.
    """
    for folder in rank_folders(path):
        for shard in manifest_of(folder).shards:
            yield dataclasses.replace(shard, file=f"{folder.name}/{shard.file}")


def manifest_of(folder: Path) -> Manifest:
    """The list of a recording; an empty one where nothing has been finished yet.

    Raises:
        RecordingError: it is damaged.
    """
    try:
        return Manifest.read(RecordingFolder(folder).manifest)
    except FileNotFoundError:
        return Manifest()


def _num_recorded(folder: Path) -> int:
    """How many episodes are safe in a rank's folder, which nobody records into."""
    uids = [episode.uid for episode in manifest_of(folder).episodes()]
    with recording_errors(f"read {folder}"):
        in_journal = scan(RecordingFolder(folder).journal).ended.keys()
    return len(uids) + len(in_journal - set(uids))


def _number(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0
