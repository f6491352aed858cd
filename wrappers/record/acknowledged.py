"""What is said of the episodes that are safe, whether they are in files yet or not."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import RecordingError
from holdstep.wrappers.record.dataset_files import find_recordings
from holdstep.wrappers.record.formats.hdf5 import list_episodes, open_shard
from holdstep.wrappers.record.ranks import manifest_of
from holdstep.wrappers.record.records import split_json
from holdstep.wrappers.record.scan import scan
from holdstep.wrappers.record.segment_reader import SegmentReader

if TYPE_CHECKING:
    from holdstep.wrappers.record.folder import RecordingFolder

_MOST_TRIES = 5


def acknowledged_attributes(path: Path) -> list[dict[str, Any]]:
    """Attributes of all episodes of a dataset, those that are in a journal only included.

    Where recording was interrupted, the dataset's files lack what its journals hold until somebody
    records on. An episode that is on its way from one to the other may be told twice, but never
    not at all.

    Args:
        path: of the dataset, which need not be there.

    Raises:
        DatasetError: a file is damaged.
        RecordingError: a list or a journal is.
    """
    files = [path] if path.is_file() else []
    found = []
    for recording in find_recordings(path):
        found += _in_journal(recording)  # first: they move from here to the files
        files += [recording.path / shard.file for shard in manifest_of(recording.path).shards]
    for file in files:
        if file.exists():  # a shard that was published has another name by now
            with open_shard(file) as shard:
                found += [dict(entry.attributes) for entry in list_episodes(shard)]
    return found


def _in_journal(recording: RecordingFolder) -> list[dict[str, Any]]:
    for _ in range(_MOST_TRIES - 1):
        # Another rank that records may delete a segment that has just been found.
        with contextlib.suppress(RecordingError, FileNotFoundError):
            return _read_journal(recording)
    return _read_journal(recording)


def _read_journal(recording: RecordingFolder) -> list[dict[str, Any]]:
    found = []
    with contextlib.closing(SegmentReader(recording.journal)) as reader:
        for uid, episode in scan(recording.journal).ended.items():
            assert episode.begin is not None  # it is whole
            assert episode.end is not None
            begun, _ = split_json(reader.read(episode.begin, uid)[1])
            ending, _ = split_json(reader.read(episode.end, uid)[1])
            found.append({**begun, **ending["attributes"]})
    return found
