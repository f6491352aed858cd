"""A recording that ends as one HDF5 file, which may have been there before."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from holdstep.wrappers.record.families import EPISODES, FAILED
from holdstep.wrappers.record.formats.hdf5 import list_episodes, open_shard, read_env_args
from holdstep.wrappers.record.manifest import Manifest, demo_number

if TYPE_CHECKING:
    from holdstep.wrappers.record.files import Files
    from holdstep.wrappers.record.folder import RecordingFolder


@dataclass(frozen=True)
class Existing:
    """What is in the files that a recording will be added to.

    Attributes:
        successes: whether each of their episodes succeeded, or None where nothing says.
        next_uid: no episode in them has this number or a greater one.
        next_demo: nor a name of this number or a greater one.
        env_name: of their env; None where they don't say.
    """

    successes: list[bool | None] = field(default_factory=list)
    next_uid: int = 0
    next_demo: int = 0
    env_name: str | None = None


def read_existing(folder: RecordingFolder) -> Existing:
    """What is in the files that a recording will be added to.

    Raises:
        DatasetError: one of them is no file of episodes, or is damaged.
    """
    entries = []
    env_name = None
    for target in _targets(folder):
        if target.exists():
            with open_shard(target) as file:
                entries += list_episodes(file)
                env_name = read_env_args(file).get("env_name") or env_name
    uids = [entry.attributes.get("uid", -1) for entry in entries]
    return Existing(
        successes=[entry.success for entry in entries],
        next_uid=max((uid for uid in uids if isinstance(uid, int)), default=-1) + 1,
        next_demo=max((demo_number(entry.name) for entry in entries), default=-1) + 1,
        env_name=env_name,
    )


def publish(folder: RecordingFolder, manifest: Manifest, files: Files) -> None:
    """Give the finished shards the names of the files that were asked for.

    Each holds what the file of its name held before, and more. Those that have their names already
    are passed over, so that it may be done again after a crash.

    Raises:
        OSError: it failed; whatever was there is there.
    """
    for shard in manifest.shards:
        target = folder.target_of(shard.family)
        path = folder.path / shard.file
        if target is not None and path.exists():
            files.rename(path, target)
            files.sync_folder(target.parent)
            files.sync_folder(path.parent)


def remove_parts(folder: RecordingFolder, files: Files) -> None:
    """Delete what was needed while recording only; everything is in its place by now.

    Raises:
        OSError: it failed.
    """
    # Without this one the folder counts as a new one, however much of the rest is still there.
    files.unlink(folder.schema)
    files.sync_folder(folder.path)
    for path in (folder.manifest, folder.lock):
        files.unlink(path)
    # A writer that waited for the lock may have made another one by now.
    with contextlib.suppress(OSError):
        for path in (folder.journal, folder.shards, folder.path):
            files.remove_folder(path)
        files.sync_folder(folder.path.parent)


def _targets(folder: RecordingFolder) -> list[Path]:
    found = {folder.target_of(family) for family in (EPISODES, FAILED)}
    return sorted(target for target in found if target is not None)
