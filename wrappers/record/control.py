"""What the writer tells the env loop, in memory that both see."""

from __future__ import annotations

import mmap
import os
from dataclasses import asdict, dataclass, fields

import numpy as np

_NUM_BYTES = 1 << 16
_TEXT_OFFSET = 1024
_ALIGNED = np.dtype(np.int64).itemsize


@dataclass(frozen=True)
class Counters:
    """What a writer has done; see :class:`~holdstep.wrappers.record.stats.RecordingStats`."""

    released: int = 0
    """Blocks whose contents are committed to the journal."""
    flushed: int = 0
    """Number of the last flush that was done."""
    ready: int = 0
    """Whether the journal is open."""
    finished: int = 0
    """Whether the recording has all that was asked for."""
    closed: int = -1
    """Number under which the end of the recording was committed; -1 before that."""
    num_before: int = 0
    """Episodes of earlier runs."""
    bytes_before: int = 0
    """Size of what earlier runs recorded [byte]."""
    full: int = 0
    """Whether it has grown by as much as it may."""
    acknowledged: int = 0
    durable: int = 0
    num_steps: int = 0
    num_recorded: int = 0
    dropped: int = 0
    discarded: int = 0
    cut: int = 0
    heartbeat_ns: int = 0
    complete: int = 0
    """Whether everything is in its place, and nothing is left to be done."""


_NAMES = tuple(field.name for field in fields(Counters))
_INDEX = {name: index for index, name in enumerate(_NAMES)}
_FINISHED = _INDEX["finished"]


class ControlPage:
    """Counters that one side writes and the other reads, without a lock and without a call.

    Only the writer writes, one aligned word at a time. ``released`` is written after the block was
    read and committed, which takes system calls: no processor shows them in another order.

    Args:
        fd: of a page that another process made; None makes one.
    """

    def __init__(self, fd: int | None = None) -> None:
        if fd is None:
            self.fd = os.memfd_create("holdstep-control")
            os.ftruncate(self.fd, _NUM_BYTES)
        else:
            self.fd = fd
        page = mmap.mmap(self.fd, _NUM_BYTES)
        # Five times as fast as an array, where a single number is read.
        self._numbers = memoryview(page)[: len(_NAMES) * _ALIGNED].cast("q")
        memory = np.frombuffer(page, dtype=np.uint8)
        self._words = memory[: len(_NAMES) * _ALIGNED].view(np.int64)
        self._text_length = memory[_TEXT_OFFSET - _ALIGNED : _TEXT_OFFSET].view(np.int64)
        self._text = memory[_TEXT_OFFSET:]
        if fd is None:
            self.set(**asdict(Counters()))

    @property
    def released(self) -> int:
        """Blocks that are free again."""
        return self._numbers[_INDEX["released"]]

    def is_finished(self) -> bool:
        """Whether the recording has all that was asked for."""
        return self._numbers[_FINISHED] > 0

    def read(self) -> Counters:
        """All counters."""
        return Counters(*self._words.tolist())

    def get(self, name: str) -> int:
        """One counter."""
        return self._numbers[_INDEX[name]]

    def set(self, **counters: int) -> None:
        """Writer only: publish counters, in this order."""
        for name, value in counters.items():
            self._words[_INDEX[name]] = value

    @property
    def error(self) -> str:
        """Why the writer has given up, or an empty string."""
        length = int(self._text_length[0])
        return self._text[:length].tobytes().decode("utf-8", "replace")

    @error.setter
    def error(self, text: str) -> None:
        content = text.encode("utf-8")[: len(self._text)]
        self._text_length[0] = 0
        self._text[: len(content)] = np.frombuffer(content, dtype=np.uint8)
        self._text_length[0] = len(content)

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
