"""Putting right what a crash, a full disk or a careless hand has left of a recording."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import DatasetError, RecordingError
from holdstep.wrappers.record.columns import RowLayout
from holdstep.wrappers.record.compaction import file_checksum
from holdstep.wrappers.record.families import EPISODES, FAILED
from holdstep.wrappers.record.files import Files, recording_errors
from holdstep.wrappers.record.folder import RecordingFolder, read_schema
from holdstep.wrappers.record.formats.hdf5 import list_episodes, open_shard
from holdstep.wrappers.record.lock import FolderLock
from holdstep.wrappers.record.manifest import Manifest, Shard, ShardEpisode
from holdstep.wrappers.record.scan import (
    read_segment_header,
    scan,
    segment_name,
    segment_numbers,
)
from holdstep.wrappers.record.store import EpisodeStore

if TYPE_CHECKING:
    import os


@dataclass(frozen=True)
class RepairReport:
    """What a repair found, and did.

    Attributes:
        num_episodes: in the recording now.
        num_recovered: that were in the journal only, and are in HDF5 files now.
        num_dropped: that were under way, and never acknowledged.
        lost: numbers of episodes that had ended, and of which parts are gone.
        done: what was changed, one sentence each.
        problems: what is wrong and could not be put right, one sentence each.
    """

    num_episodes: int
    num_recovered: int
    num_dropped: int
    lost: tuple[int, ...]
    done: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing that was acknowledged is damaged or missing."""
        return not (self.lost or self.problems)

    def __str__(self) -> str:
        lines = [f"{self.num_episodes} episodes, {self.num_recovered} of them out of the journal."]
        if self.num_dropped:
            lines.append(f"{self.num_dropped} were under way and were dropped.")
        lines += [f"Repaired: {action}." for action in self.done]
        lines += [f"Lost: episode {uid}, parts of which are gone." for uid in self.lost]
        lines += [f"Problem: {problem}." for problem in self.problems]
        return "\n".join(lines)


def repair(
    path: str | os.PathLike[str], *, compression: str = "none", files: Files | None = None
) -> RepairReport:
    """Put a recording right.

    Every episode that ended and was committed ends up in an HDF5 file, all checksums are verified,
    drafts are deleted, and lists that are damaged are made anew. What is damaged itself is moved to
    the folder ``damaged``, not deleted. A recording that is whole is left as it is; so the repair
    may be killed and run again.

    Args:
        path: a recording's folder, or the HDF5 file that it was to become.
        compression: of new HDF5 files.
        files: what changes the disk, for tests.

    Raises:
        RecordingError: there is no recording, it is being recorded to, or the disk can't be
            written.
    """
    files = files or Files()
    folder = RecordingFolder.of(path)
    if not folder.path.is_dir():
        raise RecordingError(
            f"There is nothing to repair at {folder.path}: no recording was going on there."
        )
    with recording_errors(f"repair {folder.path}"):
        lock = FolderLock(folder.lock)
        try:
            preparation = _Preparation(folder, files)
            preparation.run()
        finally:
            lock.release()
    schema = preparation.schema
    store = EpisodeStore(
        path,
        layout=RowLayout.from_json(schema["columns"]),
        attributes=schema["attributes"],
        success_filter=schema["success_filter"],
        compression=compression,
        salvage=True,
        files=files,
    )
    store.close()
    found = store.recovery
    done = preparation.done
    if found.num_recovered:
        done.append(f"moved {found.num_recovered} episodes from the journal into HDF5 files")
    if found.cut_bytes:
        done.append(f"cut {found.cut_bytes} bytes that were never acknowledged")
    return RepairReport(
        num_episodes=store.num_episodes,
        num_recovered=found.num_recovered,
        num_dropped=found.num_dropped,
        lost=found.lost,
        done=tuple(done),
        problems=(*preparation.problems, *found.notes),
    )


class _Preparation:
    """Makes of a folder one that can be opened."""

    def __init__(self, folder: RecordingFolder, files: Files) -> None:
        self.done: list[str] = []
        self.problems: list[str] = []
        self.schema: dict[str, Any] = {}
        self._folder = folder
        self._files = files

    def run(self) -> None:
        for draft in self._folder.drafts():
            self._files.unlink(draft)
            self.done.append(f"deleted the draft {draft.name}")
        self._restore_schema()
        manifest = self._restore_manifest()
        checked = self._check_shards(manifest)
        if checked != manifest:
            checked.write(self._folder.manifest, self._files)
        for number in sorted({hole.segment for hole in scan(self._folder.journal).holes}):
            self._set_aside(self._folder.journal / segment_name(number), keep=True)

    def _restore_schema(self) -> None:
        try:
            self.schema = read_schema(self._folder.schema)
            return
        except (FileNotFoundError, RecordingError) as error:
            reason = error
        for number in reversed(segment_numbers(self._folder.journal)):
            header = read_segment_header(self._folder.journal / segment_name(number))
            if header is not None:
                self.schema = header[0]["schema"]
                content = json.dumps(self.schema, indent=1).encode()
                self._files.replace(self._folder.schema, content)
                self.done.append("made dataset.json anew from the journal")
                return
        raise RecordingError(
            f"{self._folder.path} can't be repaired: it is not known what was recorded, since "
            f"there is no journal, and {reason} The files in its folder `shards` can be read one "
            "by one."
        )

    def _restore_manifest(self) -> Manifest:
        try:
            return Manifest.read(self._folder.manifest)
        except (FileNotFoundError, RecordingError):
            manifest = Manifest()
        for path in self._folder.shard_files():
            try:
                manifest = manifest.with_shard(self._described(path, path))
            except DatasetError as error:
                self.problems.append(str(error))
                self._set_aside(path)
        for family in (EPISODES, FAILED):
            target = self._folder.target_of(family)
            if target is not None and target.exists():
                # Some of the journal may be in there already: as a shard that was published.
                published = self._described(target, self._folder.shards / f"published-{family}")
                manifest = manifest.with_shard(published)
        manifest.write(self._folder.manifest, self._files)
        self.done.append("made manifest.json anew from the shards")
        return manifest

    def _described(self, path: Path, listed_as: Path) -> Shard:
        with open_shard(path) as file:
            episodes = tuple(
                ShardEpisode(e.name, e.attributes.get("uid", -1), e.num_steps, e.success, e.ended)
                for e in list_episodes(file)
            )
        file_name = str(listed_as.relative_to(self._folder.path))
        family = path.stem.rpartition("-")[0] or EPISODES
        return Shard(file_name, family, path.stat().st_size, file_checksum(path), episodes)

    def _check_shards(self, manifest: Manifest) -> Manifest:
        kept = []
        for shard in manifest.shards:
            path = self._folder.path / shard.file
            if not path.exists():
                if self._folder.target is not None:
                    kept.append(shard)  # it has been published
                    continue
                self.problems.append(f"{shard.file} is missing: {len(shard.episodes)} episodes")
                continue
            if file_checksum(path) == shard.crc32:
                kept.append(shard)
                continue
            try:
                described = self._described(path, path)
            except DatasetError as error:
                self.problems.append(f"{shard.file} is unreadable and was set aside: {error}")
                self._set_aside(path)
                continue
            self.problems.append(f"{shard.file} was changed since it was written")
            kept.append(dataclasses.replace(shard, episodes=described.episodes))
        return dataclasses.replace(manifest, shards=tuple(kept))

    def _set_aside(self, path: Path, *, keep: bool = False) -> None:
        aside = self._folder.path / "damaged"
        self._files.make_folder(aside)
        target = aside / path.name
        if keep:
            if not target.exists():
                self._files.copy(path, target)
        else:
            self._files.rename(path, target)
        self.done.append(f"put {path.name} into the folder damaged")
