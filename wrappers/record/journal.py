"""The append-only journal that episodes are acknowledged from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.errors import RecordingError
from holdstep.wrappers.record.files import Buffer, Files, explained
from holdstep.wrappers.record.records import Commit, Header, RecordType, framed
from holdstep.wrappers.record.segment_reader import SegmentReader
from holdstep.wrappers.record.segments import Segments

if TYPE_CHECKING:
    from holdstep.wrappers.record.index import Address, EpisodeIndex, JournalEpisode
    from holdstep.wrappers.record.scan import Scan


class Journal:
    """Appends records, lets them count, and gives back the space of those that are not needed.

    After a failed write or sync nobody knows what the disk holds (Linux reports a failed sync once,
    and drops the pages), so from then on everything is refused; what was committed is found by the
    next scan.

    Args:
        folder: of the segments.
        found: what the scan of the folder found. Its index is taken over.
        schema: plain values for the header of each segment.
        segment_bytes: a segment that has grown to this size is followed by another.
        sync: whether a commit is durable when it returns.
        files: what changes the disk.

    Attributes:
        index: where the records lie that are still needed.
        segment_bytes: a segment that has grown to this size is followed by another.
        reader: reads them back.
        position: of the last commit.
        next_uid: number of the next episode.

    Raises:
        OSError: the first segment can't be made.
    """

    def __init__(
        self,
        folder: Path,
        found: Scan,
        *,
        schema: Mapping[str, Any],
        segment_bytes: int,
        sync: bool,
        files: Files,
    ) -> None:
        self.index: EpisodeIndex = found.index
        self.position = found.position
        self.next_uid = found.next_uid
        self.reader = SegmentReader(folder)
        self._schema = schema
        self.segment_bytes = segment_bytes
        self._sync = sync
        self._void = found.void
        self._oldest = found.oldest_segment
        self._durable: Address = (-1, 0)
        self._is_changed = False
        self._failure: BaseException | None = None
        self._segments = Segments(folder, found.segments, sync=sync, files=files)
        if sync:
            self._segments.sync_older()
        self._begin_segment(max(found.next_segment, found.oldest_segment))
        self._segments.delete_before(self._oldest)

    @property
    def num_bytes(self) -> int:
        """Size of all segments [byte]."""
        return sum(self._segments.sizes.values())

    @property
    def oldest_segment(self) -> int:
        """The first segment that is still needed."""
        return self._oldest

    @property
    def num_segments(self) -> int:
        """Number of segments, the one that is written to included."""
        return len(self._segments.sizes)

    @property
    def has_failed(self) -> bool:
        """Whether nothing more can be written."""
        return self._failure is not None

    @property
    def is_committed(self) -> bool:
        """Whether nothing was appended since the last commit."""
        return not self._is_changed

    def append(
        self,
        kind: RecordType,
        uid: int,
        parts: Sequence[Buffer],
        *,
        first: int = 0,
        count: int = 0,
    ) -> None:
        """Write a record at the end, and note where it lies.

        Args:
            kind: what it says.
            uid: of its episode.
            parts: of its payload: contiguous; may be changed when this returns.
            first: number of its first step in the episode; of a BEGIN, the row; of an END, the
                length.
            count: number of steps.

        Raises:
            RecordingError: it could not be written, or something before could not.
        """
        num_bytes = sum(memoryview(part).nbytes for part in parts)
        header = Header(kind, count, uid, first, num_bytes)
        self._append(header, framed(header, parts))

    def commit(self, position: int, ended: Sequence[JournalEpisode] = ()) -> None:
        """Let everything that was appended so far count.

        Args:
            position: of the caller's own work; told to whoever takes over after a crash.
            ended: the episodes that are to be acknowledged; they are made sure to be there.

        Raises:
            RecordingError: it failed; none of it may be acknowledged.
        """
        if not self._is_changed and position == self.position:
            return
        with self._fatal("commit to the journal"):
            self._write_commit(position)
            if self._sync:
                self._segments.sync()
                self._durable = self._segments.end
                # It says that the first one is durable, which tells damage from a crash's traces.
                self._write_commit(position)
            newest = self._segments.newest
            oldest = min((episode.oldest_segment for episode in ended), default=newest)
            self._segments.check_presence(oldest)
        self.position = position
        self._is_changed = False

    def copy_forward(self, segment: int) -> None:
        """Write the records of a segment that are still needed once more, at the end.

        Raises:
            RecordingError: one could not be read or written.
        """
        for uid, episode in self.index.items():
            if episode.oldest_segment <= segment:
                for address in [a for a in episode.addresses() if a[0] == segment]:
                    header, raw = self.reader.read_raw(address, uid)
                    self._append(header, [raw])

    def give_back(self, *, completely: bool = False) -> None:
        """Delete the oldest segments as far as nothing in them is needed.

        Call it when everything is committed.

        Args:
            completely: if nothing is needed at all, delete the one that is written to as well;
                nothing can be appended after that.

        Raises:
            RecordingError: it failed.
        """
        behind = self._segments.newest
        if completely and not len(self.index):
            behind += 1
        oldest = self.index.oldest_segment(default=behind)
        if oldest <= self._oldest:
            return
        with self._fatal("delete a part of the journal"):
            self._oldest = oldest
            self._write_commit(self.position)
            # What is still needed may have been copied to here from what is deleted now.
            self._segments.sync()
            self._segments.delete_before(oldest)

    def close(self) -> None:
        """Close the files; nothing is written."""
        self.reader.close()
        self._segments.close()

    def _append(self, header: Header, buffers: Sequence[Buffer]) -> None:
        self._check_usable()
        try:  # not a context manager: this is done for each fragment of each row
            number, size = self._segments.end
            if size >= self.segment_bytes:
                self._begin_segment(number + 1)
            address = self._segments.write(buffers, header.num_bytes)
        except OSError as error:
            raise self._failed("append to the journal", error) from error
        except BaseException as error:  # a KeyboardInterrupt, say, in the middle of a record
            self._failure = error
            raise
        self._is_changed = True
        self.index.note(header, address)
        self.next_uid = max(self.next_uid, header.uid + 1)

    def _begin_segment(self, number: int) -> None:
        self._void = [span for span in self._void if span.segment >= self._oldest]
        self._segments.begin(
            number,
            {
                **self._schema,
                "position": self.position,
                "next_uid": self.next_uid,
                "oldest_segment": self._oldest,
                "void": [[span.segment, span.begin, span.end] for span in self._void],
            },
        )

    def _write_commit(self, position: int) -> None:
        payload = Commit(position, *self._durable, self._oldest).to_bytes()
        header = Header(RecordType.COMMIT, 0, 0, 0, len(payload))
        self._segments.write(framed(header, [payload]), header.num_bytes)

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise RecordingError(
                "Nothing more can be recorded here, since the journal could not be written before "
                f"({self._failure}). Open the recording again to go on."
            ) from self._failure

    def _failed(self, what: str, error: OSError) -> RecordingError:
        self._failure = error
        return RecordingError(f"Could not {what}: {explained(error)}")

    @contextlib.contextmanager
    def _fatal(self, what: str) -> Iterator[None]:
        self._check_usable()
        try:
            yield
        except OSError as error:
            raise self._failed(what, error) from error
        except BaseException as error:
            self._failure = error
            raise
