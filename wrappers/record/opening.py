"""Opening a recording: a new one, one that goes on, or one that a crash left behind."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import ConfigError, DatasetError, RecordingError
from holdstep.wrappers.record.files import recording_errors
from holdstep.wrappers.record.folder import RecordingFolder, check_same_schema, read_schema
from holdstep.wrappers.record.formats.hdf5 import list_episodes, open_shard
from holdstep.wrappers.record.lock import FolderLock
from holdstep.wrappers.record.manifest import Manifest, damaged
from holdstep.wrappers.record.scan import Scan, scan, segment_numbers
from holdstep.wrappers.record.single_file import Existing, publish, read_existing

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.files import Files


@dataclass(frozen=True)
class Recovery:
    """What was found when a recording was opened again.

    Attributes:
        num_recovered: episodes that had ended and were in the journal only.
        num_dropped: episodes that were under way, which nobody can go on with.
        cut_bytes: what stood behind the last commit, and was never acknowledged [byte].
        lost: numbers of episodes that had ended, parts of which are not there any more.
        notes: one sentence for everything else that was not as it should be.
    """

    num_recovered: int = 0
    num_dropped: int = 0
    cut_bytes: int = 0
    lost: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenRecording:
    """A recording that is ready to go on.

    Attributes:
        lock: held.
        manifest: of the shards.
        found: in the journal; episodes that are in shards are left out.
        dropped: episodes in ``found`` that are to be discarded.
        existing: in the file that is added to, where there is one.
        recovery: what was found, for people.
    """

    lock: FolderLock
    manifest: Manifest
    found: Scan
    dropped: tuple[int, ...]
    existing: Existing
    recovery: Recovery


def next_uid(path: str | os.PathLike[str]) -> int:
    """The number that the next episode of a recording would get; 0 where there is none yet.

    It grows with each episode that begins, also with those that are not kept.

    Raises:
        RecordingError: its list is damaged.
        DatasetError: the file that is to be added to is no file of episodes.
    """
    folder = RecordingFolder.of(path)
    with recording_errors(f"read {folder.path}"):
        in_files = read_existing(folder).next_uid if folder.target is not None else 0
        in_journal = scan(folder.journal).next_uid if folder.journal.is_dir() else 0
    try:
        return max(in_files, in_journal, Manifest.read(folder.manifest).next_uid)
    except FileNotFoundError:
        return max(in_files, in_journal)


def open_recording(
    folder: RecordingFolder,
    schema: Mapping[str, Any],
    *,
    adopt: bool,
    salvage: bool = False,
    files: Files,
) -> OpenRecording:
    """Lock a recording's folder, and find out what is in it.

    Args:
        folder: of the recording; made if it does not exist.
        schema: what is to be recorded.
        adopt: whether episodes that are under way will be gone on with.
        salvage: whether to go on where something that was durable is damaged or missing.
        files: what changes the disk.

    Raises:
        RecordingError: it is no recording's folder, is in use, or is damaged.
        ConfigError: it holds a recording of something else.
        OSError: something can't be read or written.
    """
    folder.make(files)
    lock = FolderLock(folder.lock)
    try:
        return _open(folder, schema, lock, adopt=adopt, salvage=salvage, files=files)
    except BaseException:
        lock.release()
        raise


def _open(
    folder: RecordingFolder,
    schema: Mapping[str, Any],
    lock: FolderLock,
    *,
    adopt: bool,
    salvage: bool,
    files: Files,
) -> OpenRecording:
    for draft in folder.drafts():
        files.unlink(draft)
    manifest = _read_or_begin(folder, schema, files)
    existing = Existing()
    if folder.target is not None:
        publish(folder, manifest, files)
        existing = read_existing(folder)
        _check_same_env(folder.target, existing.env_name, schema)
    found = scan(folder.journal, alive=files.alive)
    damage = list(found.damage)
    if manifest.journal_from is not None and not found.segments:
        damage.append(f"{folder.journal} is empty, and was not")
    for episode in manifest.episodes():
        found.index.drop(episode.uid)
    notes = [*_delete_leftovers(folder, manifest, found, files)]
    if folder.target is None:
        manifest, missing = _without_missing(folder, manifest)
        damage += missing
    if damage and not salvage:
        raise RecordingError(
            f"{folder.path} is damaged: {'; '.join(damage)}. Nothing was changed. `holdstep "
            "dataset repair` keeps every episode that is intact."
        )
    found.next_uid = max(found.next_uid, manifest.next_uid, existing.next_uid)
    manifest = dataclasses.replace(manifest, next_demo=max(manifest.next_demo, existing.next_demo))
    ended = {uid: e.is_whole for uid, e in found.index.items() if e.end is not None}
    under_way = {uid: e.is_whole for uid, e in found.index.items() if e.end is None}
    lost = tuple(uid for uid, is_whole in ended.items() if not is_whole)
    dropped = tuple(uid for uid, is_whole in under_way.items() if not (adopt and is_whole))
    recovery = Recovery(
        num_recovered=len(ended) - len(lost),
        num_dropped=len(dropped),
        cut_bytes=sum(span.end - span.begin for span in found.cut),
        lost=lost,
        notes=(*damage, *notes, *(f"{hole} can't be read" for hole in found.holes)),
    )
    return OpenRecording(lock, manifest, found, lost + dropped, existing, recovery)


def _read_or_begin(folder: RecordingFolder, schema: Mapping[str, Any], files: Files) -> Manifest:
    if folder.schema.exists():
        check_same_schema(folder.path, read_schema(folder.schema), schema)
        try:
            return Manifest.read(folder.manifest)
        except FileNotFoundError as error:
            raise damaged(folder.manifest, "it is missing") from error
    if folder.shard_files() or segment_numbers(folder.journal):
        raise damaged(folder.schema, "it is missing, and there are shards or a journal")
    first_uid = read_existing(folder).next_uid if folder.target is not None else 0
    manifest = Manifest(next_uid=first_uid, first_uid=first_uid)
    # Last, since a folder with this file is one that has everything else, too.
    manifest.write(folder.manifest, files)
    files.replace(folder.schema, json.dumps(schema, indent=1).encode())
    return manifest


def _check_same_env(target: Path, env_name: str | None, schema: Mapping[str, Any]) -> None:
    now = dict(schema["attributes"].get("env_args") or {}).get("env_name")
    if env_name and now and env_name != now:
        raise ConfigError(
            f"{target} holds episodes of {env_name!r}; {now!r} can't be added to it. Choose "
            "another file."
        )


def _delete_leftovers(
    folder: RecordingFolder, manifest: Manifest, found: Scan, files: Files
) -> list[str]:
    """Delete shards that are whole, but whose writer died before it could list them.

    All of their episodes are in the journal still, and will be written again. A file that holds any
    other is not one of these: it is left alone.
    """
    listed = {folder.path / shard.file for shard in manifest.shards}
    notes = []
    for path in folder.shard_files():
        if path in listed:
            continue
        try:
            with open_shard(path) as file:
                uids = [entry.attributes.get("uid", -1) for entry in list_episodes(file)]
        except DatasetError as error:
            notes.append(f"{path} is not listed and was left alone: {error}")
            continue
        ended = [uid in found.index and found.index[uid].is_whole for uid in uids]
        is_old = [uid < manifest.first_uid for uid in uids]
        if all(e or (o and folder.target) for e, o in zip(ended, is_old, strict=True)):
            files.unlink(path)
            files.sync_folder(path.parent)
        else:
            notes.append(f"{path} is not listed and was left alone")
    return notes


def _without_missing(folder: RecordingFolder, manifest: Manifest) -> tuple[Manifest, list[str]]:
    missing = [s for s in manifest.shards if not (folder.path / s.file).exists()]
    there = tuple(shard for shard in manifest.shards if shard not in missing)
    notes = [f"{s.file}, with {len(s.episodes)} episodes, is missing" for s in missing]
    return dataclasses.replace(manifest, shards=there), notes
