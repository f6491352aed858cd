"""Reading a journal back, whatever state a crash has left it in.

What counts is what stands before the last COMMIT. What stands behind it is the tail of a crash,
torn or not, and is cut: not in the file, which stays as it is, but by a note in the header of the
next segment, so that recovery changes nothing that exists and may itself be killed at any point.

A hole, bytes that are no intact record, may be followed by a COMMIT. Either the machine lost power
while pages of a file were written in any order, at a point that nobody was told was durable; or
something that was durable has been damaged since. Commits tell which: each says up to where the
journal was durable when it was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.wrappers.record.index import Address, EpisodeIndex, JournalEpisode
from holdstep.wrappers.record.records import (
    HEADER_BYTES,
    MAGIC,
    Commit,
    Header,
    RecordType,
    is_intact,
    read_header,
    split_json,
)

if TYPE_CHECKING:
    from holdstep.wrappers.record.files import Buffer

_SEGMENT_NAME = re.compile(r"(\d{6,})\.journal")


@dataclass(frozen=True, order=True)
class Span:
    """Some bytes of a segment: ``[begin, end)``."""

    segment: int
    begin: int
    end: int

    def __str__(self) -> str:
        return f"{segment_name(self.segment)}, bytes {self.begin} to {self.end}"


@dataclass
class Scan:
    """What a journal holds.

    Attributes:
        index: the episodes that were committed and not discarded.
        position: what the last commit said how far the caller had come.
        next_uid: greater than the number of any episode so far.
        next_segment: greater than the number of any segment so far.
        oldest_segment: the first segment that is still needed.
        segments: size of each segment's file [byte], those that are not needed included.
        void: what is to be left out from now on: holes, and what stands behind the last commit.
        cut: what stood behind the last commit.
        holes: what is not intact before the last commit.
        damage: why the journal is not what was once durable, one sentence each.
    """

    index: EpisodeIndex = field(default_factory=EpisodeIndex)
    position: int = -1
    next_uid: int = 0
    next_segment: int = 0
    oldest_segment: int = 0
    segments: dict[int, int] = field(default_factory=dict)
    void: list[Span] = field(default_factory=list)
    cut: list[Span] = field(default_factory=list)
    holes: list[Span] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    @property
    def ended(self) -> dict[int, JournalEpisode]:
        """The episodes that have ended and are whole, by number."""
        return {
            uid: episode
            for uid, episode in self.index.items()
            if episode.end is not None and episode.is_whole
        }


def segment_name(number: int) -> str:
    """Name of a segment's file."""
    return f"{number:06d}.journal"


def segment_numbers(folder: Path) -> list[int]:
    """Numbers of the segments in a journal's folder, in order."""
    if not folder.is_dir():
        return []
    found = (_SEGMENT_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def read_segment_header(path: Path) -> tuple[dict[str, Any], int] | None:
    """What the first record of a segment says, and its size; None where it is not intact."""
    with path.open("rb") as file:
        fields = file.read(HEADER_BYTES)
        header = read_header(fields)
        if header is None or header.kind is not RecordType.SEGMENT:
            return None
        payload = file.read(min(header.payload_bytes, path.stat().st_size))
    if len(payload) != header.payload_bytes or not is_intact(fields, [payload]):
        return None
    return split_json(memoryview(payload))[0], header.num_bytes


def scan(folder: Path, *, alive: Callable[[], None] = lambda: None) -> Scan:
    """Read a journal.

    Memory: one segment at a time, and what the index takes.

    Args:
        folder: of the segments.
        alive: called for each.

    Raises:
        OSError: a segment can't be read.
    """
    return _Scanner(folder, alive).run()


class _Scanner:
    def __init__(self, folder: Path, alive: Callable[[], None]) -> None:
        self._folder = folder
        self._alive = alive
        self._found = Scan()
        self._headers: dict[int, Mapping[str, Any]] = {}
        self._header_bytes: dict[int, int] = {}
        # Of the transaction that is being read.
        self._pending: list[tuple[Header, Address]] = []
        self._last_commit: Address = (-1, 0)
        self._durable: Address = (-1, 0)
        self._holes: list[Span] = []

    def run(self) -> Scan:
        found = self._found
        numbers = segment_numbers(self._folder)
        for number in numbers:
            self._read_header(number)
        found.void = sorted(set(found.void))  # each header repeats what those before it say
        for number in numbers:
            self._alive()
            self._read_segment(number)
        if numbers:
            found.next_segment = numbers[-1] + 1
        self._drop_leftovers()
        self._judge_holes()
        self._find_missing(numbers)
        self._cut_tail()
        return found

    def _read_header(self, number: int) -> None:
        found = self._found
        read = read_segment_header(self._folder / segment_name(number))
        if read is None or read[0]["number"] != number:
            return
        content, self._header_bytes[number] = read
        self._headers[number] = content
        # A commit may be in a segment that is deleted by now; its say is handed on.
        found.position = content["position"]
        found.next_uid = max(found.next_uid, content["next_uid"])
        found.oldest_segment = max(found.oldest_segment, content["oldest_segment"])
        found.void += [Span(*span) for span in content["void"]]

    def _read_segment(self, number: int) -> None:
        content = (self._folder / segment_name(number)).read_bytes()
        self._found.segments[number] = len(content)
        previous = self._headers.get(number, {}).get("previous_bytes", 0)
        # The one before may have lost its end, without a torn record to show for it.
        behind = self._found.segments.get(number - 1, previous)
        for begin, end in _valid_parts(number - 1, previous, self._found.void):
            if end > behind:
                self._holes.append(Span(number - 1, max(begin, behind), end))
        for begin, end in _valid_parts(number, len(content), self._found.void):
            for offset, header, payload in _records(content, begin, end):
                if header is None:
                    self._holes.append(Span(number, offset, offset + len(payload)))
                else:
                    self._apply(header, (number, offset), payload)

    def _apply(self, header: Header, address: Address, payload: memoryview) -> None:
        if header.kind is RecordType.COMMIT:
            self._commit(Commit.from_bytes(payload), (address[0], address[1] + header.num_bytes))
        elif header.kind is not RecordType.SEGMENT:
            self._found.next_uid = max(self._found.next_uid, header.uid + 1)
            self._pending.append((header, address))

    def _commit(self, commit: Commit, end: Address) -> None:
        found = self._found
        for header, address in self._pending:
            found.index.note(header, address)
        self._pending.clear()
        found.position = commit.position
        found.oldest_segment = max(found.oldest_segment, commit.oldest_segment)
        self._durable = max(self._durable, (commit.durable_segment, commit.durable_bytes))
        self._last_commit = end

    def _drop_leftovers(self) -> None:
        """Forget what lies in segments that were given up, and whose deletion a crash undid."""
        index, oldest = self._found.index, self._found.oldest_segment
        for uid in [uid for uid, episode in index.items() if episode.oldest_segment < oldest]:
            index.drop(uid)

    def _judge_holes(self) -> None:
        found = self._found
        for hole in self._holes:
            if hole.segment < found.oldest_segment:
                continue
            if (hole.segment, hole.begin) < self._durable:
                found.damage.append(f"{hole} were durable once and are no intact records now")
            if (hole.segment, hole.begin) < self._last_commit:
                found.holes.append(hole)
                found.void.append(hole)

    def _find_missing(self, numbers: Collection[int]) -> None:
        found = self._found
        for number in range(found.oldest_segment, found.next_segment):
            if number not in numbers:
                found.damage.append(f"{segment_name(number)} is missing")

    def _cut_tail(self) -> None:
        found = self._found
        last_segment, last_bytes = self._last_commit
        for number, size in found.segments.items():
            begin = self._header_bytes.get(number, 0)
            if number <= last_segment:
                begin = last_bytes if number == last_segment else size
            tail = list(_valid_parts(number, size, found.void))
            found.cut += [Span(number, max(b, begin), e) for b, e in tail if e > begin]
        found.void = [s for s in found.void + found.cut if s.segment >= found.oldest_segment]


def _valid_parts(number: int, size: int, void: Collection[Span]) -> Iterator[tuple[int, int]]:
    """The parts of a segment that lie in none of some spans."""
    begin = 0
    for span in sorted(span for span in void if span.segment == number):
        if span.begin > begin:
            yield begin, min(span.begin, size)
        begin = max(begin, span.end)
    if begin < size:
        yield begin, size


def _records(
    content: bytes, begin: int, end: int
) -> Iterator[tuple[int, Header | None, memoryview]]:
    """Offset, header and payload of each record; no header, and the bytes, for each hole."""
    view = memoryview(content)
    offset = begin
    while offset < end:
        header = _record_at(view, offset, end)
        if header is not None:
            behind = offset + header.num_bytes
            yield offset, header, view[offset + HEADER_BYTES : behind]
        else:
            behind = offset + 1
            while (behind := content.find(MAGIC, behind, end)) >= 0:
                if _record_at(view, behind, end) is not None:
                    break
                behind += 1
            behind = end if behind < 0 else behind
            yield offset, None, view[offset:behind]
        offset = behind


def _record_at(view: memoryview, offset: int, end: int) -> Header | None:
    fields: Buffer = view[offset : min(offset + HEADER_BYTES, end)]
    header = read_header(fields)
    if header is None or offset + header.num_bytes > end:
        return None
    payload = view[offset + HEADER_BYTES : offset + header.num_bytes]
    return header if is_intact(fields, [payload]) else None
