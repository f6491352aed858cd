"""The list of a recording's shards, and of the episodes in each."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import RecordingError
from holdstep.wrappers.record.episode import Ended

if TYPE_CHECKING:
    from holdstep.wrappers.record.files import Files

FORMAT_VERSION = 1
_SHARD_FILE = re.compile(r"(rank-\d+/)?shards/(?!\.{1,2}\Z)[^/\0]+")


@dataclass(frozen=True)
class ShardEpisode:
    """An episode in a shard.

    Attributes:
        name: of its group in the file; no other episode of the recording has it.
        uid: its number in the journal; -1 for one that another program recorded.
        num_steps: its length.
        success: whether it succeeded, or None where nothing says.
        ended: how.
    """

    name: str
    uid: int
    num_steps: int
    success: bool | None
    ended: Ended


@dataclass(frozen=True)
class Shard:
    """A finished file of episodes.

    Attributes:
        file: its path in the recording's folder.
        family: ``"episodes"``, or ``"succeeded"`` and ``"failed"`` where these are kept apart.
        num_bytes: its size [byte].
        crc32: checksum of the file.
        episodes: in it.
    """

    file: str
    family: str
    num_bytes: int
    crc32: int
    episodes: tuple[ShardEpisode, ...]

    @property
    def num_steps(self) -> int:
        """Number of steps of all of its episodes."""
        return sum(episode.num_steps for episode in self.episodes)


@dataclass(frozen=True)
class Manifest:
    """What a recording consists of, besides what is still in its journal only.

    Attributes:
        shards: finished ones, in order.
        next_uid: no episode so far has this number or a greater one.
        next_demo: the number in the name of the next episode.
        first_uid: episodes of lower numbers were there before this recording.
        journal_from: number of a segment that was the journal's first once: there must be one. None
            where there is no journal, as everything is in shards.
    """

    shards: tuple[Shard, ...] = ()
    next_uid: int = 0
    next_demo: int = 0
    first_uid: int = 0
    journal_from: int | None = None

    def episodes(self) -> Iterator[ShardEpisode]:
        """Of all shards."""
        for shard in self.shards:
            yield from shard.episodes

    def with_shard(self, shard: Shard) -> Manifest:
        """The same, with one more shard."""
        if not shard.episodes:
            return dataclasses.replace(self, shards=(*self.shards, shard))
        return dataclasses.replace(
            self,
            shards=(*self.shards, shard),
            next_uid=max(self.next_uid, *(e.uid + 1 for e in shard.episodes)),
            next_demo=max(self.next_demo, *(demo_number(e.name) + 1 for e in shard.episodes)),
        )

    def write(self, path: Path, files: Files) -> None:
        """Put it in the place of the old one, at once and durably.

        Raises:
            OSError: it failed; the old one is there still.
        """
        content = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        files.replace(path, json.dumps(content).encode())

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read one.

        Raises:
            RecordingError: it is damaged, or of another version.
            FileNotFoundError: there is none.
        """
        content = read_json(path)
        if content.pop("format_version", None) != FORMAT_VERSION:
            raise RecordingError(
                f"{path} is of a version that this holdstep does not know; it knows "
                f"{FORMAT_VERSION}. Install the one that wrote it, or a newer one."
            )
        try:
            shards = tuple(_shard(shard) for shard in content.pop("shards"))
            return cls(shards, **content)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        RecordingError: there is something else in it.
        FileNotFoundError: it is not there.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, f"it holds a {type(content).__name__}")
    return content


def damaged(path: Path, reason: object) -> RecordingError:
    """The error about a file that can't be read."""
    return RecordingError(
        f"{path} is damaged: {reason}. `holdstep dataset repair` makes it anew from the shards and "
        "the journal."
    )


def demo_number(name: str) -> int:
    """The number in an episode's name, or -1 where there is none.

    >>> demo_number("demo_12"), demo_number("other")
    (12, -1)
    """
    number = name.removeprefix("demo_")
    return int(number) if number != name and number.isdecimal() else -1


def _shard(content: Mapping[str, Any]) -> Shard:
    # A repair moves what is listed: a list that came from elsewhere must not name others' files.
    if not _SHARD_FILE.fullmatch(content["file"]):
        raise ValueError(f"{content['file']!r} is no file in its folder `shards`")
    episodes = tuple(ShardEpisode(**episode) for episode in content["episodes"])
    return Shard(**{**content, "episodes": episodes})
