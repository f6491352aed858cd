"""Records of the journal: framed, checked bytes.

A record is a header of 40 bytes and a payload. Its CRC-32 covers both, so that a record which was
written in part, or changed since, is never taken for one. All numbers are little-endian.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from holdstep.errors import RecordingError

if TYPE_CHECKING:
    from holdstep.wrappers.record.files import Buffer

MAGIC = b"hsj\x01"
_FIELDS = struct.Struct("<4sB3xIQQQ")
_CRC = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CRC.size

_JSON_BYTES = struct.Struct("<I")
_COMMIT = struct.Struct("<qiQI")

Words = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


class RecordType(IntEnum):
    """What a record says."""

    SEGMENT = 0
    """The first record of a segment: the schema, and what the scan has to know."""
    BEGIN = 1
    """An episode began: its row, its attributes, its first observation."""
    STEPS = 2
    """Consecutive steps of an episode."""
    END = 3
    """An episode ended: how, further attributes, its final observation where it is known."""
    DISCARD = 4
    """An episode is not to be kept, whether it ended or not."""
    COMMIT = 5
    """All that stands before this record counts; what stands behind the last one does not."""
    EPISODE = 6
    """A whole episode at once, in the journals of recorders that hand over finished ones."""


_TYPES = frozenset(int(kind) for kind in RecordType)


@dataclass(frozen=True, slots=True)
class Header:
    """The framing of a record.

    Attributes:
        kind: what it says.
        count: number of steps in it; of an END, whether the episode succeeded.
        uid: of its episode.
        first: number of its first step in the episode; of a BEGIN, the row that it is recorded in;
            of an END, the length of the episode.
        payload_bytes: size of its payload [byte].
    """

    kind: RecordType
    count: int
    uid: int
    first: int
    payload_bytes: int

    @property
    def num_bytes(self) -> int:
        """Size of the whole record [byte]."""
        return HEADER_BYTES + self.payload_bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """What a COMMIT says.

    Attributes:
        position: a number of the caller's: how far its own work had come.
        durable_segment: up to here the journal is known to have been durable when this was
            written, so that a hole before it is damage rather than the trace of a crash.
        durable_bytes: of that segment.
        oldest_segment: the first one that is still needed.
    """

    position: int
    durable_segment: int
    durable_bytes: int
    oldest_segment: int

    def to_bytes(self) -> bytes:
        """As a record's payload."""
        return _COMMIT.pack(
            self.position, self.durable_segment, self.durable_bytes, self.oldest_segment
        )

    @classmethod
    def from_bytes(cls, payload: Buffer) -> Commit:
        """Out of a record's payload."""
        return cls(*_COMMIT.unpack(payload))


def record(
    kind: RecordType, uid: int, parts: Sequence[Buffer], *, first: int = 0, count: int = 0
) -> list[Buffer]:
    """The buffers of a record.

    Args:
        kind: what it says.
        uid: of its episode.
        parts: of its payload: contiguous.
        first: number of its first step in the episode.
        count: number of steps.
    """
    num_bytes = sum(memoryview(part).nbytes for part in parts)
    return framed(Header(kind, count, uid, first, num_bytes), parts)


def framed(header: Header, parts: Sequence[Buffer]) -> list[Buffer]:
    """A header and the parts of its payload, as they are: nothing is copied."""
    fields = _FIELDS.pack(
        MAGIC, header.kind, header.count, header.uid, header.first, header.payload_bytes
    )
    return [fields + _CRC.pack(_checksum(fields, parts)), *parts]


def read_header(fields: Buffer) -> Header | None:
    """The header in the first bytes of a record, or None where no record begins.

    That it is intact is known only once its payload was checked too: see :func:`is_intact`.
    """
    if len(fields) < HEADER_BYTES:
        return None
    magic, kind, count, uid, first, num_bytes = _FIELDS.unpack_from(fields)
    if magic != MAGIC or kind not in _TYPES:
        return None
    return Header(RecordType(kind), count, uid, first, num_bytes)


def is_intact(fields: Buffer, parts: Sequence[Buffer]) -> bool:
    """Whether the checksum in a header is that of the header and of a payload.

    Args:
        fields: the :data:`HEADER_BYTES` bytes of the header.
        parts: the payload, in as many pieces as one likes.
    """
    (expected,) = _CRC.unpack_from(fields, _FIELDS.size)
    return bool(_checksum(fields[: _FIELDS.size], parts) == expected)


def _checksum(fields: Buffer, parts: Sequence[Buffer]) -> int:
    checksum = zlib.crc32(fields)
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return checksum


def with_json(content: Mapping[str, Any], *planes: Buffer) -> list[Buffer]:
    """Parts of a payload that begins with plain values.

    Raises:
        RecordingError: a value is none that JSON can hold.
    """
    try:
        text = json.dumps(content).encode()
    except (TypeError, ValueError) as error:
        raise RecordingError(
            f"Attributes must be plain values (texts, numbers, bools, lists, dicts): {error}."
        ) from error
    return [_JSON_BYTES.pack(len(text)), text, *planes]


def split_json(payload: memoryview) -> tuple[dict[str, Any], memoryview]:
    """The plain values at the beginning of a payload, and what comes behind them."""
    (num_bytes,) = _JSON_BYTES.unpack_from(payload)
    end = _JSON_BYTES.size + num_bytes
    content = json.loads(bytes(payload[_JSON_BYTES.size : end]))
    return content, payload[end:]


def split_planes(rest: memoryview, num_words: int, num_bytes: int) -> tuple[Words, Bytes] | None:
    """The packed row behind a record's plain values, or None where there is none."""
    if not rest:
        return None
    end = num_words * 4
    words = np.frombuffer(rest[:end], np.int32)
    return words, np.frombuffer(rest[end : end + num_bytes], np.uint8)


_SUCCESS_CODES = {False: 0, True: 1, None: 2}


def success_code(success: bool | None) -> int:
    """How the header of an END says whether the episode succeeded."""
    return _SUCCESS_CODES[success]


def success_of(header: Header) -> bool | None:
    """Whether an episode succeeded, as the header of its END says."""
    return None if header.count == _SUCCESS_CODES[None] else header.count == 1
