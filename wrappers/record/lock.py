"""One writer a recording."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from holdstep.errors import RecordingError
from holdstep.wrappers.record.files import recording_errors


class FolderLock:
    """Holds a recording's folder for one writer, until it is released or the process dies.

    The system itself gives the lock back (``flock``), so none is ever left behind. The file stays:
    deleting it could give two writers a lock each.

    Args:
        path: of the file that is locked.
        waits: until nobody else holds it.

    Raises:
        RecordingError: somebody else holds it, and this does not wait; or the file can't be made or
            locked.
    """

    def __init__(self, path: Path, *, waits: bool = False) -> None:
        self._path = path
        self._operation = fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB
        with recording_errors(f"open {path}"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._take()
        except BaseException:
            self.release()
            raise

    def _take(self) -> None:
        with recording_errors(f"lock {self._path}"):
            try:
                fcntl.flock(self._descriptor, self._operation)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                raise RecordingError(
                    f"{self._path.parent} is being written by {self._holder()}. Wait until that "
                    "has closed it, or choose another folder."
                ) from error
        # For the message above only: nothing depends on it, so a full disk is no reason to stop.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _holder(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            pid = int(os.pread(self._descriptor, 32, 0))
            parent = _parent_of(pid)
            if os.getpid() in (pid, parent):
                return "this very process"
            return f"process {pid}" + (f", which process {parent} started" if parent else "")
        return "another process"

    def check(self) -> None:
        """Make sure that the folder is the one that was locked.

        Raises:
            FileNotFoundError: it was deleted, so that what is written goes nowhere.
        """
        if os.fstat(self._descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._path))

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def _parent_of(pid: int) -> int | None:
    """Who started a process: a user knows the script that records better than its writer."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(status.rpartition(")")[2].split()[1])
    return None
