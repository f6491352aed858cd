"""Every problem of a dataset."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import DatasetError
from holdstep.wrappers.record.dataset_files import DatasetFiles, find_files
from holdstep.wrappers.record.formats.hdf5 import (
    EpisodeEntry,
    array_paths,
    episode_names,
    open_shard,
    read_array,
    read_entry,
    read_env_args,
    read_total,
)
from holdstep.wrappers.record.ranks import list_problem
from holdstep.wrappers.record.tools.episode_rules import (
    ArrayType,
    differences,
    problems_of,
    types_of,
)

if TYPE_CHECKING:
    import os

    import h5py

    from holdstep.wrappers.record.columns import Array


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a dataset.

    Attributes:
        where: the file, with the episode if it is about one.
        what: a sentence.
    """

    where: str
    what: str


@dataclass(frozen=True)
class Validation:
    """What was found.

    Attributes:
        problems: everything that is wrong.
        num_files: that were looked at.
        num_episodes: that were read whole.
        pending: why there are more episodes than those; None if those are all.
    """

    problems: tuple[Problem, ...]
    num_files: int
    num_episodes: int
    pending: str | None


def validate(
    path: str | os.PathLike[str], *, on_episode: Callable[[], None] = lambda: None
) -> Validation:
    """Read a dataset whole, and list everything that is wrong with it.

    Looked at are: checksums, where the folder has them; that every array can be read, and has as
    many rows as its episode has steps; flags against how episodes ended; actions and rewards that
    are not finite; that all episodes have the same arrays; totals; and names.

    Args:
        path: a folder that was recorded into, or one HDF5 file.
        on_episode: called after each episode.

    Raises:
        DatasetError: it is no dataset at all.
        OSError: it is not there.
    """
    path = Path(path)
    files = find_files(path)
    problems = [Problem(str(path), what) for what in files.problems()]
    if (stale := list_problem(path)) is not None:
        problems.append(Problem(str(path / "manifest.json"), stale))
    checker = _Checker(files, on_episode)
    for file in files.files:
        if file.exists():
            problems += checker.check_file(file)
    return Validation(tuple(problems), len(files.files), checker.num_episodes, files.pending())


class _Checker:
    def __init__(self, files: DatasetFiles, on_episode: Callable[[], None]) -> None:
        self.num_episodes = 0
        self._files = files
        self._on_episode = on_episode
        self._first: dict[str, ArrayType] | None = None
        self._uids: dict[tuple[Path, Any], str] = {}

    def check_file(self, path: Path) -> Iterator[Problem]:
        name = str(path)
        try:
            damage = self._files.damage(path)
            if damage is not None:
                yield Problem(name, damage)
            with open_shard(path) as file:
                yield from self._check_open_file(file, path)
        except (DatasetError, OSError) as error:
            yield Problem(name, str(error))

    def _check_open_file(self, file: h5py.File, path: Path) -> Iterator[Problem]:
        name = str(path)
        read_env_args(file)
        total = 0
        names = episode_names(file)
        for episode_name in names:
            where = f"{name}: {episode_name}"
            try:
                entry = read_entry(file, episode_name)
                paths = array_paths(file, episode_name)
            except DatasetError as error:
                yield Problem(where, str(error))
                continue
            total += entry.num_steps
            arrays = {}
            for array in paths:
                try:
                    arrays[array] = read_array(file, episode_name, array)
                except DatasetError as error:
                    yield Problem(where, str(error))
            damaged = len(arrays) < len(paths)
            for what in self._problems_of(entry, arrays, damaged=damaged):
                yield Problem(where, what)
            for what in self._broken_promises(path, entry, where):
                yield Problem(where, what)
            self.num_episodes += 1
            self._on_episode()
        shard = self._files.shards.get(path)
        listed = [] if shard is None else [episode.name for episode in shard.episodes]
        for missing in sorted(set(listed) - set(names)):
            yield Problem(name, f"{missing} is in the list of the recording, but not in the file")
        said = read_total(file)
        if said is not None and said != total:
            yield Problem(name, f"/data says that it has {said} steps; its episodes have {total}")

    def _problems_of(
        self, entry: EpisodeEntry, arrays: dict[str, Array], *, damaged: bool
    ) -> Iterator[str]:
        if not re.fullmatch(r"demo_\d+", entry.name):
            yield "its name is not demo_<number>, by which robomimic puts episodes in order"
        yield from problems_of(entry, arrays, damaged=damaged)
        if damaged:
            return
        types = types_of(arrays)
        if self._first is None:
            self._first = types
        else:
            yield from differences(self._first, types)

    def _broken_promises(self, path: Path, entry: EpisodeEntry, where: str) -> Iterator[str]:
        """What the list of a recording says otherwise than the file."""
        shard = self._files.shards.get(path)
        if shard is None:
            return
        listed = next((e for e in shard.episodes if e.name == entry.name), None)
        if listed is None:
            yield "it is not in the list of the recording"
            return
        for what in ("num_steps", "success", "ended"):
            said, found = getattr(listed, what), getattr(entry, what)
            if said != found:
                yield f"its {what} is {found!r}, and {said!r} in the list of the recording"
        other = self._uids.setdefault((path.parent, listed.uid), where)
        if other != where and listed.uid >= 0:
            yield f"it has the uid {listed.uid} of another episode, {other}"
