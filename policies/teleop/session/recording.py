"""What a recording of a session holds, before a session is opened on it."""

from __future__ import annotations

import collections
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from holdstep.errors import DatasetError, nearest_names
from holdstep.extras import require


@dataclass(frozen=True, kw_only=True)
class SessionRecording:
    """An MCAP file that isaacteleop wrote.

    Attributes:
        path: of the file.
        num_messages: by channel, such as ``"controllers/left_controller"``.
    """

    path: Path
    num_messages: Mapping[str, int]

    def num_frames(self, names: Iterable[str]) -> int | None:
        """After how many steps a replay has nothing more to say.

        A session plays one message of each tracker's channels per step, and after the last one says
        that there is no data, as it does when tracking is lost.

        Args:
            names: of the session's sources.

        Returns:
            The messages of the longest channel; None without any source, since the recording is
            not read then.

        Raises:
            DatasetError: nothing was recorded of one of them, which a session would not notice.
        """
        lengths = []
        for name in names:
            channels = [topic for topic in self.num_messages if topic.startswith(f"{name}/")]
            if not channels:
                sources = sorted({topic.rpartition("/")[0] for topic in self.num_messages})
                raise DatasetError(
                    f"{self.path} holds nothing of a source {name!r}."
                    + nearest_names(name, sources)
                    + f" It holds: {', '.join(map(repr, sources)) or 'nothing'}. A source is named "
                    "when the pipeline is built, and needs the name with which it was recorded."
                )
            # Besides each step's values, a recording may hold every raw sample.
            stepped = [topic for topic in channels if topic.endswith("_tracked")] or channels
            lengths += [self.num_messages[topic] for topic in stepped]
        return max(lengths, default=None)


def read_recording(path: str | Path) -> SessionRecording:
    """Look at an MCAP file.

    Raises:
        DatasetError: it is not there, is no such file, or is one that isaacteleop can't read.
        MissingExtraError: the extra ``teleop`` is not installed.
    """
    reader = require("mcap.reader", extra="teleop", purpose="Replaying a session")
    exceptions = require("mcap.exceptions", extra="teleop", purpose="Replaying a session")
    path = Path(path)
    try:
        with path.open("rb") as file:
            summary = reader.make_reader(file).get_summary()
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror or error}.") from error
    except (exceptions.McapError, struct.error, ValueError, OverflowError) as error:
        raise DatasetError(
            f"{path} is no MCAP file, or one that was cut off ({type(error).__name__}: {error}). "
            "Of the latter, `mcap recover` saves what is there."
        ) from error
    if summary is None or summary.statistics is None:
        raise DatasetError(
            f"{path} does not say what it holds, as if it had been cut off. Write it again with "
            "`mcap recover`."
        )
    counts: collections.Counter[str] = collections.Counter()
    for channel in summary.channels.values():
        counts[channel.topic] += summary.statistics.channel_message_counts.get(channel.id, 0)
    compressions = {chunk.compression for chunk in summary.chunk_indexes} - {""}
    if compressions:
        raise DatasetError(
            f"{path} is compressed ({', '.join(sorted(compressions))}), which isaacteleop does not "
            "read. Write it again without: mcap decompress."
        )
    return SessionRecording(path=path, num_messages=dict(counts))
