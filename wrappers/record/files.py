"""The operations by which a recording changes the disk."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from holdstep.errors import RecordingError

Buffer = Any
"""Anything contiguous that gives its bytes: bytes, a memoryview, a C-contiguous array."""

MAX_BUFFERS = 512
"""The most buffers that go into one system call; Linux allows 1024."""

_COPY_BYTES = 1 << 22

_ADVICE = {
    errno.ENOSPC: "The disk is full: free some space, then record on in the same folder.",
    errno.EDQUOT: "Your quota is used up: free some space, then record on in the same folder.",
    errno.EFBIG: "The file would become larger than this system allows.",
    errno.EROFS: "The file system is read-only; choose another folder.",
    errno.EACCES: "You may not write there; choose another folder, or change its permissions.",
    errno.EPERM: "You may not write there; choose another folder, or change its permissions.",
    errno.ENOENT: "It is gone: was the folder deleted or moved while it was recorded to?",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
}


class Files:
    """Changes files, one operation a method.

    Nothing else in the recorder writes, syncs, renames or deletes, except HDF5 into files that have
    no final name yet. So a test that replaces this object can fail, tear or lose every single
    operation.

    Args:
        alive: called again and again while something takes long, so that whoever waits for it knows
            that it goes on.
    """

    def __init__(self, alive: Callable[[], None] = lambda: None) -> None:
        self.alive = alive

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it; existing ones are left as they are."""
        path.mkdir(parents=True, exist_ok=True)

    def create(self, path: Path) -> int:
        """Make a new file, and return its descriptor, for reading and for writing at its end.

        Raises:
            FileExistsError: it exists; nothing is ever truncated.
        """
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def write(self, descriptor: int, buffers: Sequence[Buffer]) -> None:
        """Write all of the buffers at the end of a file."""
        for begin in range(0, len(buffers), MAX_BUFFERS):
            some = buffers[begin : begin + MAX_BUFFERS]
            wanted = sum(memoryview(buffer).nbytes for buffer in some)
            written = os.writev(descriptor, some)
            # Short writes are legal (a full disk, a signal), and rare enough to copy for.
            if written < wanted:
                rest = memoryview(b"".join(some))[written:]
                while rest:
                    rest = rest[os.write(descriptor, rest) :]

    def sync(self, descriptor: int) -> None:
        """Make the content of a file durable."""
        os.fdatasync(descriptor)

    def sync_file(self, path: Path) -> None:
        """Make the content of a file durable that somebody else wrote and closed."""
        with _opened(path, os.O_RDONLY) as descriptor:
            os.fsync(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Make durable which names a folder holds."""
        with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            os.fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, in place of whatever had it."""
        os.rename(source, target)

    def copy(self, source: Path, target: Path) -> None:
        """Make a new file of the same content."""
        with source.open("rb") as old, target.open("wb") as new:
            while part := old.read(_COPY_BYTES):
                new.write(part)
                self.alive()

    def reserve(self, path: Path, num_bytes: int) -> None:
        """Make a file at least so large, so that whoever writes into it finds room.

        Raises:
            OSError: there is none.
        """
        with _opened(path, os.O_RDWR) as descriptor:
            os.posix_fallocate(descriptor, 0, num_bytes)

    def truncate(self, path: Path, num_bytes: int) -> None:
        """Cut a file down to its first bytes."""
        os.truncate(path, num_bytes)

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        os.unlink(path)

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder."""
        os.rmdir(path)

    def close(self, descriptor: int) -> None:
        """Close a descriptor that :meth:`create` returned."""
        os.close(descriptor)

    def replace(self, path: Path, content: bytes) -> None:
        """Put content into a file at once and durably: readers see the old content or the new."""
        draft = path.with_name(f"{path.name}.tmp")
        with contextlib.suppress(FileNotFoundError):
            self.unlink(draft)
        descriptor = self.create(draft)
        try:
            self.write(descriptor, [content])
            self.sync(descriptor)
        finally:
            self.close(descriptor)
        self.rename(draft, path)
        self.sync_folder(path.parent)


@contextlib.contextmanager
def recording_errors(what: str) -> Iterator[None]:
    """Turn the system's errors into :class:`RecordingError`.

    Args:
        what: what was being done, such as ``"append to the journal of demos"``.
    """
    try:
        yield
    except OSError as error:
        raise RecordingError(f"Could not {what}: {explained(error)}") from error


def explained(error: OSError) -> str:
    """A system's error in a sentence, with what to do about it.

    >>> explained(OSError(errno.ENOSPC, "No space left on device", "demos/manifest.json"))[:58]
    'No space left on device (demos/manifest.json). The disk is'
    """
    name = f" ({error.filename})" if error.filename else ""
    advice = _ADVICE.get(error.errno or 0, "")
    return f"{error.strerror or error}{name}. {advice}".rstrip()


def read_exactly(descriptor: int, num_bytes: int, offset: int) -> bytes:
    """Bytes of a file; fewer than asked for only where the file ends."""
    parts: list[bytes] = []
    while num_bytes > 0:
        part = os.pread(descriptor, num_bytes, offset)
        if not part:
            break
        parts.append(part)
        num_bytes -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
