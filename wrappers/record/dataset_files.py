"""Which files the episodes of a dataset are in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdstep.errors import DatasetError, RecordingError
from holdstep.wrappers.record.compaction import file_checksum
from holdstep.wrappers.record.episode_journal import journal_of, waiting_names
from holdstep.wrappers.record.folder import RecordingFolder, read_schema
from holdstep.wrappers.record.manifest import Shard
from holdstep.wrappers.record.ranks import manifest_of, rank_folders
from holdstep.wrappers.record.scan import scan


@dataclass(frozen=True)
class DatasetFiles:
    """The files of a dataset.

    Attributes:
        files: HDF5 files, in the order in which their episodes count.
        shards: what the folder knows about them, if it is one of holdstep's.
        env_args: about the env, where the folder says it.
        recordings: folders that were recorded into, which may hold more episodes than the files.
    """

    files: tuple[Path, ...]
    shards: Mapping[Path, Shard] = field(default_factory=dict)
    env_args: Mapping[str, Any] | None = None
    recordings: tuple[RecordingFolder, ...] = ()

    def pending(self) -> str | None:
        """Why there are more episodes than in the files, and what to do; None if there are none.

        Reads the journals.

        Raises:
            OSError: a journal can't be read.
        """
        waiting = 0
        for recording in self.recordings:
            done = {
                episode.uid
                for file, shard in self.shards.items()
                if recording.path / shard.file == file
                for episode in shard.episodes
            }
            waiting += len(scan(recording.journal).ended.keys() - done)
        if waiting:
            return _waiting(waiting, *(recording.path for recording in self.recordings))
        for file in self.files:
            if file not in self.shards and (names := waiting_names(file)):
                return _waiting(len(names), file)
        return None

    def problems(self) -> Iterator[str]:
        """What is wrong with the folders themselves.

        Yields:
            A sentence for each file that is missing, or that no list knows.
        """
        for file in self.files:
            if not file.exists():
                yield f"{file.name} is missing, with {len(self.shards[file].episodes)} episodes"
        for recording in self.recordings:
            for file in recording.shard_files():
                if file not in self.shards:
                    yield (
                        f"{file.name} is in no list of the recording; `holdstep dataset repair` "
                        "puts that right"
                    )

    def damage(self, file: Path) -> str | None:
        """What its checksum says about a file; None if it is as it was written, or has none."""
        shard = self.shards.get(file)
        if shard is None:
            return None
        num_bytes = file.stat().st_size
        if num_bytes != shard.num_bytes:
            return f"it has {num_bytes} bytes, and had {shard.num_bytes} when it was written"
        checksum = file_checksum(file)
        if checksum != shard.crc32:
            return (
                f"its content is not what was written: its CRC-32 is {checksum:08x}, and was "
                f"{shard.crc32:08x}"
            )
        return None


def find_files(path: Path) -> DatasetFiles:
    """The files of a dataset.

    Args:
        path: a folder that was recorded into, or one HDF5 file.

    Raises:
        DatasetError: a folder that nothing was recorded into, or whose lists are damaged.
        FileNotFoundError: it is not there.
    """
    recordings = tuple(find_recordings(path))
    if path.is_file():
        return DatasetFiles((path,), recordings=recordings)
    if not path.exists() and not recordings:
        if journal_of(path).is_dir():
            raise FileNotFoundError(
                f"There is no dataset at {path} yet: {_waiting(len(waiting_names(path)), path)}"
            )
        raise FileNotFoundError(f"There is no dataset at {path}.")
    if not recordings:
        raise DatasetError(
            f"{path} was not recorded into: it has no dataset.json. Give a recording's folder, or "
            "an .hdf5 file."
        )
    try:
        shards = {
            _inside(recording, shard): shard
            for recording in recordings
            for shard in manifest_of(recording.path).shards
        }
        attributes = read_schema(recordings[0].schema)["attributes"]
    except (RecordingError, KeyError) as error:
        raise DatasetError(str(error)) from error
    return DatasetFiles(tuple(shards), shards, attributes.get("env_args"), recordings)


def find_recordings(path: Path) -> Iterator[RecordingFolder]:
    """The folders of a dataset that were recorded into; none where nothing was yet."""
    own = RecordingFolder.of(path)
    if own.schema.is_file():
        yield own
    for rank in rank_folders(path):
        recording = RecordingFolder(rank)
        if recording.schema.is_file():
            yield recording


def _waiting(num_episodes: int, *paths: Path) -> str:
    where = ", ".join(map(str, paths))
    return (
        f"{num_episodes} finished episodes are in the journal of {where} only, and can't be read "
        "yet. If nobody is recording there, run `holdstep dataset repair` on it."
    )


def _inside(recording: RecordingFolder, shard: Shard) -> Path:
    file = recording.path / str(shard.file)
    if file.parent.resolve() != recording.shards.resolve():
        raise DatasetError(
            f"{recording.manifest} lists {shard.file}, which is outside of the folder "
            f"{recording.shards}; it is not read."
        )
    return file
