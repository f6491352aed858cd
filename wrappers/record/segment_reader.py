"""Reading single records of a journal."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from holdstep.errors import RecordingError
from holdstep.wrappers.record.files import Buffer, read_exactly, recording_errors
from holdstep.wrappers.record.records import (
    HEADER_BYTES,
    Header,
    RecordType,
    is_intact,
    read_header,
)
from holdstep.wrappers.record.scan import segment_name

if TYPE_CHECKING:
    from holdstep.wrappers.record.index import Address

_MAX_OPEN_FILES = 16


class SegmentReader:
    """Reads records by address; each is checked again.

    Args:
        folder: of the segments.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[int, int] = OrderedDict()

    def read(self, address: Address, uid: int) -> tuple[Header, memoryview]:
        """A record's header and payload.

        Args:
            address: where it lies.
            uid: of the episode that it must belong to.

        Raises:
            RecordingError: it is damaged, or can't be read.
        """
        header, raw = self.read_raw(address, uid)
        return header, memoryview(raw)[HEADER_BYTES:]

    def read_raw(self, address: Address, uid: int) -> tuple[Header, bytes]:
        """A record's header, and all of its bytes as they are.

        Raises:
            RecordingError: it is damaged, or can't be read.
        """
        segment, offset = address
        with recording_errors(f"read {self._folder / segment_name(segment)}"):
            descriptor = self._descriptor(segment)
            header = read_header(read_exactly(descriptor, HEADER_BYTES, offset))
            if header is None or offset + header.num_bytes > os.fstat(descriptor).st_size:
                raise self._damaged(address)
            raw = read_exactly(descriptor, header.num_bytes, offset)
        payload = memoryview(raw)[HEADER_BYTES:]
        if header.uid != uid or not is_intact(raw[:HEADER_BYTES], [payload]):
            raise self._damaged(address)
        return header, raw

    def read_steps(self, address: Address, uid: int, first: int, parts: Sequence[Buffer]) -> None:
        """Read a STEPS record's payload straight to where it is wanted.

        Args:
            address: where it lies.
            uid: of its episode.
            first: number of its first step.
            parts: memory for the payload: contiguous, and of its size altogether.

        Raises:
            RecordingError: it is damaged, or can't be read.
        """
        segment, offset = address
        fields = bytearray(HEADER_BYTES)
        num_bytes = sum(memoryview(part).nbytes for part in parts)
        with recording_errors(f"read {self._folder / segment_name(segment)}"):
            num_read = os.preadv(self._descriptor(segment), [fields, *parts], offset)
        header = read_header(fields)
        if (
            num_read != HEADER_BYTES + num_bytes
            or header is None
            or (header.kind, header.uid, header.first) != (RecordType.STEPS, uid, first)
            or header.payload_bytes != num_bytes
            or not is_intact(fields, parts)
        ):
            raise self._damaged(address)

    def close(self) -> None:
        """Close the files that were read from."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _descriptor(self, segment: int) -> int:
        descriptor = self._open.get(segment)
        if descriptor is None:
            path = self._folder / segment_name(segment)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if len(self._open) == _MAX_OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            self._open[segment] = descriptor
        return descriptor

    def _damaged(self, address: Address) -> RecordingError:
        segment, offset = address
        return RecordingError(
            f"{self._folder / segment_name(segment)} is damaged at byte {offset}: something else "
            "changed it, or the disk did. Stop recording, and run `holdstep dataset repair`, which "
            "keeps every episode that is intact."
        )
