"""The file below a writer: buffered lines, bounded in size, and never a reason to stop a run."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

_BUFFER_BYTES = 1 << 16
_LAST_LINE_BYTES = 64  # kept free for it


class LineSink:
    """Appends lines to a file in blocks.

    The caller serialises the calls. Lines wait in memory until there are 64 KiB of them, or the
    oldest has waited ``flush_interval_s`` when another one comes. Nothing is synced to the disk: a
    killed process loses what was buffered, a machine that loses power also what the kernel held.

    A file that can't be written to any more (a full disk) ends the trace with a warning and not the
    run that it is a trace of.

    Args:
        path: the file; what was there is replaced, missing folders are made.
        max_bytes: the size beyond which it does not grow.
        flush_interval_s: see above [s].

    Attributes:
        num_dropped: lines that were not kept.
    """

    def __init__(self, path: Path, *, max_bytes: int, flush_interval_s: float) -> None:
        self.num_dropped = 0
        self._path = path
        self._max_bytes = max_bytes
        self._interval_s = flush_interval_s
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._lines: list[str] = []
        self._num_buffered = 0
        self._num_bytes = 0
        self._oldest_s = 0.0
        self._open = True

    def write(self, line: str, now_s: float) -> None:
        """Keep a line.

        Args:
            line: ASCII, with its line feed.
            now_s: the time [s], of the clock that the caller uses throughout.
        """
        if not self._open:
            self.num_dropped += 1
            return
        if self._num_bytes + len(line) > self._max_bytes - _LAST_LINE_BYTES:
            self.num_dropped += 1
            self.close(f'{{"full":{self._max_bytes}}}\n')
            return
        if not self._lines:
            self._oldest_s = now_s
        self._lines.append(line)
        self._num_bytes += len(line)
        self._num_buffered += len(line)
        if self._num_buffered >= _BUFFER_BYTES or now_s - self._oldest_s >= self._interval_s:
            self.flush()

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        if not self._lines or not self._open:
            return
        block = "".join(self._lines).encode("ascii")
        num_lines = len(self._lines)
        self._lines.clear()
        self._num_buffered = 0
        try:
            self._file.write(block)
            self._file.flush()
        except OSError as error:
            self._open = False
            self.num_dropped += num_lines
            with contextlib.suppress(OSError):  # closing tries to write once more
                self._file.close()
            warnings.warn(
                f"The timeline {self._path} ends here, the run goes on: {error}.",
                RuntimeWarning,
                stacklevel=2,
            )

    def close(self, last_line: str = "") -> None:
        """Write a last line and end; further lines are dropped and counted."""
        if not self._open:
            return
        if last_line:
            self._lines.append(last_line)
        self.flush()
        if self._open:
            self._open = False
            self._file.close()
