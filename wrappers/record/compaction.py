"""Finished episodes out of the journal into shards."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import DatasetError, RecordingError
from holdstep.wrappers.record.assemble import assemble
from holdstep.wrappers.record.families import SuccessFilter, family_of
from holdstep.wrappers.record.files import Files, explained
from holdstep.wrappers.record.formats.hdf5 import ShardWriter, episode_bytes
from holdstep.wrappers.record.manifest import Manifest, Shard, ShardEpisode, demo_number
from holdstep.wrappers.record.reclaim import reclaim
from holdstep.wrappers.record.single_file import publish, remove_parts

if TYPE_CHECKING:
    from collections import deque

    from holdstep.wrappers.record.columns import RowLayout
    from holdstep.wrappers.record.folder import RecordingFolder
    from holdstep.wrappers.record.journal import Journal

_READ_BYTES = 1 << 20

_Version = tuple[int, int, int] | None
"""Tells the versions of a file from each other; None where there is none."""


@dataclass
class _OpenShard:
    family: str
    draft: Path
    writer: ShardWriter
    copied: _Version
    episodes: list[ShardEpisode] = field(default_factory=list)
    finished: Shard | None = None  # it has its final name, whether or not the manifest lists it


class Compactor:
    """Writes episodes to shards, one at a time, so that its caller can do other things in between.

    A shard has no final name until it is whole and durable, and its episodes stay in the journal
    until then. So whatever happens to one that is being written costs work, never an episode.

    Args:
        folder: of the recording.
        journal: to take the episodes from.
        manifest: what there is so far.
        layout: of the journal's rows.
        env_args: about the env, for the shards.
        compression: of the shards.
        shard_bytes: a shard that has grown to this size is finished.
        success_filter: which episodes go to shards of their own.
        num_before: episodes that are in shards, or in the file, already.
        files: what changes the disk.

    Attributes:
        manifest: what there is by now.
        num_moved: episodes of this writer that are in finished shards.
        num_in_shards: all episodes that are in finished shards, or were in the file before.
    """

    def __init__(
        self,
        folder: RecordingFolder,
        journal: Journal,
        manifest: Manifest,
        *,
        layout: RowLayout,
        env_args: Mapping[str, Any],
        compression: str,
        shard_bytes: int,
        success_filter: SuccessFilter,
        num_before: int,
        files: Files,
    ) -> None:
        self.manifest = manifest
        self._folder = folder
        self._journal = journal
        self._layout = layout
        self._env_args = env_args
        self._compression = compression
        self._shard_bytes = shard_bytes
        self._success_filter = success_filter
        self._files = files
        self.num_moved = 0
        self.num_in_shards = num_before
        self._first_uid = journal.next_uid
        self._next_demo = manifest.next_demo
        self._open: dict[str, _OpenShard] = {}

    @property
    def num_bytes(self) -> int:
        """Size of the recording [byte], with each episode counted once.

        That is, in its shard, or in the journal for as long as that is being written.
        """
        finished = sum(shard.num_bytes for shard in self.manifest.shards)
        return finished + self._journal.index.num_bytes

    def run(self, ready: deque[int], *, end_s: float | None = None) -> bool:
        """Write episodes to shards.

        Args:
            ready: them, all committed; taken out one after the other.
            end_s: time at which no further one is begun, on the monotonic clock; None for none.

        Returns:
            Whether there are more.

        Raises:
            RecordingError: it failed. Those that are in no finished shard are back in ``ready``.
        """
        reclaim(self._journal)
        with self._failures():
            for shard in [shard for shard in self._open.values() if shard.finished]:
                self._finish(shard)
        while ready and (end_s is None or time.monotonic() < end_s):
            uid = ready.popleft()
            try:
                has_finished = self._add(uid)
            except BaseException:
                again = dict.fromkeys([*self.drop(), uid])
                in_finished = {e.uid for s in self._open.values() for e in s.episodes}
                ready.extendleft(uid for uid in reversed(again) if uid not in in_finished)
                raise
            if has_finished:
                reclaim(self._journal)
        return bool(ready)

    def finish(self) -> None:
        """Finish the shards that are being written, and give the journal back.

        Raises:
            RecordingError: it failed.
        """
        with self._failures():
            if self._folder.target is not None and not self._folder.target.exists():
                self._shard_for(family_of(True, self._success_filter))  # the file that is asked for
            for shard in list(self._open.values()):
                self._finish(shard)
            manifest = dataclasses.replace(
                self.manifest, next_uid=self._journal.next_uid, journal_from=None
            )
            manifest.write(self._folder.manifest, self._files)
            self._journal.give_back(completely=True)
            if self._folder.target is not None:
                publish(self._folder, manifest, self._files)
                remove_parts(self._folder, self._files)

    def _add(self, uid: int) -> bool:
        """Write an episode; whether that finished a shard."""
        self._files.alive()
        with self._failures():
            found = self._journal.index[uid]
            name = f"demo_{self._next_demo}"
            episode = assemble(uid, found, self._journal.reader, self._layout, name=name)
            shard = self._shard_for(family_of(episode.success, self._success_filter))
            # HDF5 takes the process down with it when it finds no room.
            room = shard.writer.num_bytes + episode_bytes(episode)
            self._files.reserve(shard.draft, room)
            shard.writer.add(episode)
            shard.episodes.append(
                ShardEpisode(name, uid, episode.num_steps, episode.success, episode.ended)
            )
            self._next_demo += 1
            if self._folder.target is None and shard.writer.num_bytes >= self._shard_bytes:
                self._finish(shard)
                return True
        return False

    def drop(self) -> list[int]:
        """Delete the shards that are being written; returns the episodes that were in them."""
        drafts = [shard for shard in self._open.values() if shard.finished is None]
        for shard in drafts:
            del self._open[shard.family]
            shard.writer.abandon()
            with contextlib.suppress(OSError):
                self._files.unlink(shard.draft)
        kept = [e.name for shard in self._open.values() for e in shard.episodes]
        numbers = (demo_number(name) + 1 for name in kept)
        self._next_demo = max(self.manifest.next_demo, *numbers, 0)
        return [episode.uid for shard in drafts for episode in shard.episodes]

    def _shard_for(self, family: str) -> _OpenShard:
        shard = self._open.get(family)
        if shard is None:
            draft = self._folder.shards / f"{family}.hdf5.tmp"
            old = self._folder.target_of(family)
            copied = _version(old)
            if old is not None and copied is not None:
                self._files.copy(old, draft)
            writer = ShardWriter(
                draft,
                env_args=self._env_args,
                compression=self._compression,
                append=copied is not None,
            )
            shard = self._open[family] = _OpenShard(family, draft, writer, copied)
        return shard

    def _finish(self, shard: _OpenShard) -> None:
        # In this order, nothing that has a final name is ever incomplete, and the journal is there
        # for as long as it is the only place where an episode surely is. It can be gone on with
        # after a failure; once the shard has its name, its episodes must not be written again.
        if shard.finished is None:
            self._files.truncate(shard.draft, shard.writer.close())
            self._check_others(shard)
            path = self._free_path(shard.family)
            finished = Shard(
                str(path.relative_to(self._folder.path)),
                shard.family,
                shard.draft.stat().st_size,
                file_checksum(shard.draft, alive=self._files.alive),
                tuple(shard.episodes),
            )
            self._files.sync_file(shard.draft)
            self._files.rename(shard.draft, path)
            shard.finished = finished
        self._files.sync_folder(self._folder.shards)
        manifest = self.manifest.with_shard(shard.finished)
        manifest.write(self._folder.manifest, self._files)
        self.manifest = manifest
        del self._open[shard.family]
        for episode in shard.episodes:
            self._journal.index.drop(episode.uid)
            self.num_moved += episode.uid >= self._first_uid
            self.num_in_shards += 1

    def _check_others(self, shard: _OpenShard) -> None:
        """Make sure that nobody changed files which this one is to stand in for, or beside."""
        if self._folder.target is None:
            for other in self.manifest.shards:
                os.stat(self._folder.path / other.file)
        old = self._folder.target_of(shard.family)
        if _version(old) != shard.copied:
            raise RecordingError(
                f"{old} was changed by something else while it was added to, and was left as it "
                f"is. What was recorded is safe in {self._folder.path}; `holdstep dataset repair` "
                "adds it."
            )

    def _free_path(self, family: str) -> Path:
        taken = {Path(shard.file).name for shard in self.manifest.shards}
        taken |= {entry.name for entry in self._folder.shards.iterdir()}
        number = 0
        while (name := f"{family}-{number:06d}.hdf5") in taken:
            number += 1
        return self._folder.shards / name

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, DatasetError) as error:
            if isinstance(error, RecordingError):
                raise
            reason = explained(error) if isinstance(error, OSError) else str(error)
            raise RecordingError(
                f"Could not write a shard of {self._folder.path}: {reason} Its episodes are safe "
                "in the journal."
            ) from error


def _version(path: Path | None) -> _Version:
    try:
        status = None if path is None else path.stat()
    except FileNotFoundError:
        return None
    return None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns)


def file_checksum(path: Path, *, alive: Callable[[], None] = lambda: None) -> int:
    """CRC-32 of a file's content; ``alive`` is called again and again meanwhile."""
    checksum = 0
    with path.open("rb", buffering=0) as file:
        while part := file.read(_READ_BYTES):
            checksum = zlib.crc32(part, checksum)
            alive()
    return checksum
