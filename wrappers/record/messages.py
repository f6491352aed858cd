"""What the env loop tells the writer, in order: blocks, flushes, and that it is over."""

from __future__ import annotations

import json
import os
import queue
import select
import struct
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

Do = Literal["block", "flush", "close", "abandon"]

_LENGTH = struct.Struct("<I")
_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class Event:
    """Something that the user said between two entries of a block.

    Attributes:
        entry: it was said before this one was made, and after the one before it.
        do: ``"seed"``, ``"mark"``, ``"annotate"``, ``"discard"``, ``"discard_last"`` or ``"hole"``.
        rows: which rows are meant.
        values: what was said, plain JSON values.
    """

    entry: int
    do: str
    rows: list[int] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """One thing for the writer to do.

    Attributes:
        do: take a block; flush; finish everything and end; or end without finishing (the env loop
            is gone, and somebody may be waiting to take over its folder).
        number: of the block, counted from 0 over the whole recording, and of the close, as if that
            were the next block; or of the flush.
        index: of the block in the ring; -1 if it was spilled.
        offset: where a spilled block begins in the spill file [byte].
        kinds: of its entries.
        num_observed: rows whose observations come with each of them.
        events: in the order in which they happened.
    """

    do: Do
    number: int = 0
    index: int = -1
    offset: int = 0
    kinds: list[int] = field(default_factory=list)
    num_observed: list[int] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def encode(self) -> bytes:
        """As bytes that tell their own length."""
        content = json.dumps(asdict(self), separators=(",", ":")).encode()
        return _LENGTH.pack(len(content)) + content

    @classmethod
    def decode(cls, content: bytes) -> Message:
        """What :meth:`encode` made, without its length."""
        values = json.loads(content)
        values["events"] = [Event(**event) for event in values["events"]]
        return cls(**values)


class Inbox(Protocol):
    """Where messages come from."""

    def get(self, timeout_s: float) -> Message | None:
        """The next message; None if none came in time."""
        ...


class PipeInbox:
    """Messages from a pipe. Its end, or the end of the process that had it, is ``"abandon"``.

    Args:
        fd: the end to read from.
        parent_pid: who writes. A copy of the other end may live on in a process that the parent has
            forked, so that the pipe does not end with the parent.
    """

    def __init__(self, fd: int, parent_pid: int) -> None:
        self._fd = fd
        self._parent_pid = parent_pid
        self._buffer = bytearray()

    def get(self, timeout_s: float) -> Message | None:
        """The next message; None if none came in time."""
        while True:
            message = self._take()
            if message is not None:
                return message
            if not select.select([self._fd], [], [], timeout_s)[0]:
                return Message("abandon") if os.getppid() != self._parent_pid else None
            content = os.read(self._fd, _READ_BYTES)
            if not content:
                return Message("abandon")
            self._buffer += content

    def _take(self) -> Message | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
        if len(self._buffer) < end:
            return None
        message = Message.decode(bytes(self._buffer[_LENGTH.size : end]))
        del self._buffer[:end]
        return message


class QueueInbox:
    """Messages from another thread."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        """Add a message; never waits."""
        self._queue.put(message)

    def get(self, timeout_s: float) -> Message | None:
        """The next message; None if none came in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
