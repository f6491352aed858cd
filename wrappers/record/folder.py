"""Where the parts of a recording lie, and what it says about itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers.record.families import FAILED
from holdstep.wrappers.record.manifest import read_json

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.columns import RowLayout
    from holdstep.wrappers.record.files import Files

FORMAT = "holdstep recording"
FORMAT_VERSION = 1
SINGLE_FILE_SUFFIXES = (".hdf5", ".h5")

RUN_ATTRIBUTES = frozenset({"task", "versions", "env_args"})
"""What a recording notes by itself about the run that began it; the others are the user's."""

_OWN_NAMES = {"dataset.json", "manifest.json", "journal", "shards", "lock", "damaged"}


@dataclass(frozen=True)
class RecordingFolder:
    """Paths of a recording.

    Attributes:
        path: the folder.
        target: the one file that everything goes into at the end; None where the shards stay.
    """

    path: Path
    target: Path | None = None

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> RecordingFolder:
        """The folder of a recording: itself, or beside a ``.hdf5`` file its ``.parts``."""
        path = Path(path)
        if path.suffix in SINGLE_FILE_SUFFIXES:
            return cls(path.with_name(f"{path.name}.parts"), path)
        return cls(path)

    def target_of(self, family: str) -> Path | None:
        """The one file that a family goes into at the end; None where its shards stay."""
        if self.target is None or family != FAILED:
            return self.target
        return self.target.with_name(f"{self.target.stem}_failed{self.target.suffix}")

    @property
    def schema(self) -> Path:
        """What is recorded, and of what."""
        return self.path / "dataset.json"

    @property
    def manifest(self) -> Path:
        """The list of shards."""
        return self.path / "manifest.json"

    @property
    def journal(self) -> Path:
        """Folder of the journal."""
        return self.path / "journal"

    @property
    def shards(self) -> Path:
        """Folder of the shards."""
        return self.path / "shards"

    @property
    def lock(self) -> Path:
        """Held by the one who writes."""
        return self.path / "lock"

    def shard_files(self) -> list[Path]:
        """Files that have the name of a shard."""
        return sorted(self.shards.glob("*.hdf5")) if self.shards.is_dir() else []

    def drafts(self) -> Iterator[Path]:
        """Files that were being written when their writer died."""
        for folder in (self.path, self.shards):
            if folder.is_dir():
                yield from sorted(folder.glob("*.tmp"))

    def check_free(self) -> None:
        """Make sure that there is a recording, or nothing yet.

        Raises:
            RecordingError: something else is there already.
            OSError: it can't be looked at.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RecordingError(
                f"{self.path} is a file; a recording needs a folder of its own, or a file whose "
                f"name ends in {' or '.join(SINGLE_FILE_SUFFIXES)}."
            )
        if self.path.is_dir() and not self.schema.exists():
            others = {entry.name for entry in self.path.iterdir()} - _OWN_NAMES
            others = {name for name in others if not name.endswith(".tmp")}
            if others:
                raise RecordingError(
                    f"{self.path} holds something else than a recording: {sorted(others)[:5]}. "
                    "Choose a folder that is empty or does not exist yet."
                )

    def make(self, files: Files) -> None:
        """Make the folders that are missing.

        Raises:
            RecordingError: something else is there already.
            OSError: they can't be made.
        """
        self.check_free()
        for folder in (self.path, self.journal, self.shards):
            if not folder.exists():
                files.make_folder(folder)
                files.sync_folder(folder.parent)


def schema_content(
    layout: RowLayout, attributes: Mapping[str, Any], success_filter: str
) -> dict[str, Any]:
    """What a recording says about itself."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "columns": layout.to_json(),
        "attributes": dict(attributes),
        "success_filter": success_filter,
    }


def read_schema(path: Path) -> dict[str, Any]:
    """What the recording of a ``dataset.json`` says about itself.

    Raises:
        RecordingError: it is damaged, is no recording's, or is of another version.
        FileNotFoundError: it is not there.
    """
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise RecordingError(f"{path} is not about a recording of holdstep's.")
    if content.get("format_version") != FORMAT_VERSION:
        raise RecordingError(
            f"{path} is of version {content.get('format_version')}; this holdstep knows "
            f"{FORMAT_VERSION}. Install the one that wrote it, or a newer one."
        )
    return content


def check_same_schema(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Make sure that episodes of one schema go on being recorded in that schema.

    Raises:
        ConfigError: they differ; the message says where.
    """
    differences = list(_differences(old, new))
    if differences:
        lines = "\n".join(f"  - {difference}" for difference in differences)
        raise ConfigError(
            f"{path} holds a recording of something else; nothing was changed. Record what it "
            f"holds, or choose another folder. What differs:\n{lines}"
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    old_columns, new_columns = (
        {column["name"]: column for column in content["columns"]} for content in (old, new)
    )
    for name in old_columns.keys() | new_columns.keys():
        before, now = old_columns.get(name), new_columns.get(name)
        if before is None or now is None:
            yield f"{name!r} is only in {'what is there' if now is None else 'the new one'}"
        elif before != now:
            yield f"{name!r} is {_described(before)} there and {_described(now)} now"
    old_order, new_order = list(old_columns), list(new_columns)
    if old_order != new_order and set(old_order) == set(new_order):
        yield f"the columns are in the order {old_order} there and {new_order} now"
    splits = [content["success_filter"] == "split" for content in (old, new)]
    if splits[0] != splits[1]:
        yield f"success_filter is {old['success_filter']!r} there and {new['success_filter']!r} now"
    yield from _differing_attributes(old["attributes"], new["attributes"])
    tasks = [_task(content["attributes"]) for content in (old, new)]
    if tasks[0] != tasks[1]:
        yield f"the env is {tasks[0]!r} there and {tasks[1]!r} now"


def _differing_attributes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Of the user's attributes; one that is not given again stands for the new episodes, too."""
    for name in sorted(new.keys() - RUN_ATTRIBUTES):
        value = json.loads(json.dumps(new[name]))  # as it would be read back
        if name not in old:
            yield f"the attribute {name!r} is only in the new one"
        elif old[name] != value:
            yield (
                f"the attribute {name!r} is {old[name]!r} there and {value!r} now; what differs "
                "between episodes is an attribute of each, by RecordEpisodes.annotate"
            )


def _described(column: Mapping[str, Any]) -> str:
    return f"{column['dtype']} {tuple(column['shape'])} ({column['kind']})"


def _task(attributes: Mapping[str, Any]) -> object:
    env_args = attributes.get("env_args")
    return env_args.get("env_name") if isinstance(env_args, Mapping) else None
