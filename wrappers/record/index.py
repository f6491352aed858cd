"""Where in the journal the records of each episode lie."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator

from holdstep.wrappers.record.records import Header, RecordType, success_of

Address = tuple[int, int]
"""Number of a segment, and where in it a record begins [byte]."""

_FIELDS = 4  # of a piece: its first step, number of steps, segment, offset


class JournalEpisode:
    """Where the records of one episode lie.

    Takes 32 bytes for each fragment of the episode, whatever is in it. Records may come in any
    order and more than once, as they do where those of a segment were copied before it was
    deleted: the last copy counts.

    Attributes:
        begin: where its BEGIN lies; None until that was seen.
        end: where its END lies; None as long as it is under way.
        length: number of its steps, as its END says.
        success: whether it succeeded, as its END says.
        row: that it was recorded in.
        num_steps: so far.
        num_bytes: size of its records [byte].
        oldest_segment: the first one that holds any of them.
    """

    __slots__ = (
        "_pieces", "begin", "end", "length", "num_bytes", "num_steps", "oldest_segment", "row",
        "success",
    )  # fmt: skip

    def __init__(self) -> None:
        self.begin: Address | None = None
        self.end: Address | None = None
        self.length: int | None = None
        self.success: bool | None = None
        self.row = -1
        self.num_steps = 0
        self.num_bytes = 0
        self.oldest_segment = -1
        self._pieces = array("Q")

    def note(self, header: Header, address: Address) -> bool:
        """Note where a record lies; whether it is a new one, rather than a copy."""
        is_new = True
        if header.kind is RecordType.STEPS:
            is_new = self._note_steps(header, address)
        elif header.kind is RecordType.BEGIN:
            is_new = self.begin is None
            self.begin, self.row = address, header.first
        else:
            is_new = self.end is None
            self.end, self.length = address, header.first
            self.success = success_of(header)
        if not is_new:
            self.oldest_segment = min(segment for segment, _ in self.addresses())
            return False
        self.num_bytes += header.num_bytes
        if self.oldest_segment < 0 or address[0] < self.oldest_segment:
            self.oldest_segment = address[0]
        return True

    def _note_steps(self, header: Header, address: Address) -> bool:
        fields = array("Q", (header.first, header.count, *address))
        if header.first >= self.num_steps:
            self._pieces.extend(fields)
            self.num_steps = header.first + header.count
            return True
        at = bisect_left(self._pieces[::_FIELDS], header.first) * _FIELDS
        is_copy = at < len(self._pieces) and self._pieces[at] == header.first
        self._pieces[at : at + _FIELDS * is_copy] = fields
        return not is_copy

    def steps(self) -> Iterator[tuple[int, int, Address]]:
        """First step, number of steps and address of each STEPS record, in order."""
        fields = self._pieces
        for i in range(0, len(fields), _FIELDS):
            yield fields[i], fields[i + 1], (fields[i + 2], fields[i + 3])

    def addresses(self) -> Iterator[Address]:
        """Of all of its records."""
        if self.begin is not None:
            yield self.begin
        for _, _, address in self.steps():
            yield address
        if self.end is not None:
            yield self.end

    @property
    def is_whole(self) -> bool:
        """Whether nothing of what it has come to so far is missing."""
        wanted = 0
        for first, count, _ in self.steps():
            if first != wanted:
                return False
            wanted += count
        return self.begin is not None and self.length in (None, wanted)


class EpisodeIndex:
    """The episodes whose records the journal must keep.

    Those are the ones under way, and the finished ones that are in no durable shard yet.

    Attributes:
        num_bytes: size of their records [byte].
    """

    def __init__(self) -> None:
        self.num_bytes = 0
        self._episodes: dict[int, JournalEpisode] = {}

    def __contains__(self, uid: int) -> bool:
        return uid in self._episodes

    def __getitem__(self, uid: int) -> JournalEpisode:
        return self._episodes[uid]

    def get(self, uid: int) -> JournalEpisode | None:
        """An episode, or None if nothing of it has to be kept."""
        return self._episodes.get(uid)

    def __len__(self) -> int:
        return len(self._episodes)

    def __iter__(self) -> Iterator[int]:
        return iter(self._episodes)

    def items(self) -> Iterator[tuple[int, JournalEpisode]]:
        """Episodes by number."""
        return iter(self._episodes.items())

    def note(self, header: Header, address: Address) -> None:
        """Note where a record of an episode lies, or that the episode was discarded."""
        if header.kind is RecordType.DISCARD:
            self.drop(header.uid)
            return
        episode = self._episodes.get(header.uid)
        if episode is None:
            episode = self._episodes[header.uid] = JournalEpisode()
        if episode.note(header, address):
            self.num_bytes += header.num_bytes

    def drop(self, uid: int) -> None:
        """Forget an episode, if it is known: its records are needed no more."""
        episode = self._episodes.pop(uid, None)
        if episode is not None:
            self.num_bytes -= episode.num_bytes

    def oldest_segment(self, *, default: int) -> int:
        """The first segment that holds a record which is still needed."""
        return min((e.oldest_segment for e in self._episodes.values()), default=default)
