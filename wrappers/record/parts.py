"""The parts of a store, made from what is in its folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdstep.wrappers.record.compaction import Compactor
from holdstep.wrappers.record.finished import FinishedEpisodes
from holdstep.wrappers.record.folder import RecordingFolder, schema_content
from holdstep.wrappers.record.journal import Journal
from holdstep.wrappers.record.lock import FolderLock
from holdstep.wrappers.record.opening import OpenRecording, Recovery, open_recording
from holdstep.wrappers.record.records import RecordType

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import RowLayout
    from holdstep.wrappers.record.families import SuccessFilter
    from holdstep.wrappers.record.files import Files


@dataclass(frozen=True)
class StoreParts:
    """What a store consists of.

    Attributes:
        lock: of the folder.
        journal: that is written to.
        finished: episodes that have ended.
        compactor: moves them into shards.
        recovery: what was found in the folder.
    """

    lock: FolderLock
    journal: Journal
    finished: FinishedEpisodes
    compactor: Compactor
    recovery: Recovery


def make_parts(
    folder: RecordingFolder,
    *,
    layout: RowLayout,
    attributes: Mapping[str, Any],
    success_filter: SuccessFilter,
    sync: bool,
    segment_bytes: int,
    shard_bytes: int,
    compression: str,
    adopt: bool,
    salvage: bool,
    files: Files,
) -> StoreParts:
    """Open a folder, and bring it into a state in which it can be recorded to.

    The arguments are those of :class:`~holdstep.wrappers.record.store.EpisodeStore`.

    Raises:
        RecordingError: see there.
        ConfigError: see there.
        OSError: something can't be read or written.
    """
    schema = schema_content(layout, attributes, success_filter)
    opened = open_recording(folder, schema, adopt=adopt, salvage=salvage, files=files)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(opened.lock.release)
        journal = Journal(
            folder.journal,
            opened.found,
            schema={"schema": schema},
            segment_bytes=segment_bytes,
            sync=sync,
            files=files,
        )
        on_failure.callback(journal.close)
        for uid in opened.dropped:
            journal.append(RecordType.DISCARD, uid, [])
        journal.commit(journal.position)
        manifest = dataclasses.replace(
            opened.manifest, next_uid=journal.next_uid, journal_from=journal.oldest_segment
        )
        manifest.write(folder.manifest, files)
        on_failure.pop_all()
    before = _before(folder, opened)
    compactor = Compactor(
        folder,
        journal,
        manifest,
        layout=layout,
        env_args=attributes.get("env_args") or {},
        compression=compression,
        shard_bytes=shard_bytes,
        success_filter=success_filter,
        num_before=len(before),
        files=files,
    )
    finished = FinishedEpisodes(
        num_episodes=len(before),
        num_succeeded=sum(success is True for success in before),
        first_uid=journal.next_uid,
    )
    ended = [(uid, e) for uid, e in journal.index.items() if e.end is not None]
    # By number, as the rows recorded them: where their ends lie, a rewritten segment may change.
    for uid, episode in sorted(ended, key=lambda item: item[0]):
        finished.recover(uid, episode.row, episode.success)
    if not adopt:
        finished.release()
    return StoreParts(opened.lock, journal, finished, compactor, opened.recovery)


def _before(folder: RecordingFolder, opened: OpenRecording) -> list[bool | None]:
    """Whether they succeeded, of the episodes that are in files already."""
    if folder.target is not None:  # what was published of the shards is in there
        return opened.existing.successes
    return [episode.success for episode in opened.manifest.episodes()]
