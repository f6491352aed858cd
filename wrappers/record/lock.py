"""One writer a recording."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from holdstep.errors import RecordingError
from holdstep.wrappers.record.files import recording_errors

_ORPHAN_S = 60.0
_POLL_S = 0.01


class FolderLock:
    """Holds a recording's folder for one writer, until it is released or the process dies.

    The system itself gives the lock back (``flock``), so none is ever left behind. The file stays:
    deleting it could give two writers a lock each.

    A writer whose env loop was killed is an orphan: it commits what it was sent, and ends. Who
    starts again at once, as ``torchrun`` does, waits for that.

    Args:
        path: of the file that is locked.
        waits: until nobody else holds it, whoever that is.
        orphan_s: the longest time to wait for an orphan [s].
        sleep: waits [s].

    Raises:
        RecordingError: somebody else holds it, and this does not wait; or the file can't be made or
            locked.
    """

    def __init__(
        self,
        path: Path,
        *,
        waits: bool = False,
        orphan_s: float = _ORPHAN_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._operation = fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB
        self._orphan_s = orphan_s
        self._sleep = sleep
        with recording_errors(f"open {path}"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._take()
        except BaseException:
            self.release()
            raise

    def _take(self) -> None:
        waited_s = 0.0
        with recording_errors(f"lock {self._path}"):
            while not self._is_taken():
                if waited_s >= self._orphan_s or not self._is_held_by_orphan():
                    raise RecordingError(
                        f"{self._path.parent} is being written by {self._holder()}. Wait until "
                        "that has closed it, or choose another folder."
                    )
                self._sleep(_POLL_S)
                waited_s += _POLL_S
        # Nothing that is recorded depends on it, so a full disk is no reason to stop.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()} {os.getppid()}\n".encode(), 0)

    def _is_taken(self) -> bool:
        try:
            fcntl.flock(self._descriptor, self._operation)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            return False
        return True

    def _holder(self) -> str:
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = self._written()[0]
            parent = _parent_of(pid)
            if os.getpid() in (pid, parent):
                return "this very process"
            return f"process {pid}" + (f", which process {parent} started" if parent else "")
        return "another process"

    def _is_held_by_orphan(self) -> bool:
        """Whether who started the holder is gone; then it is ending, or has ended meanwhile."""
        with contextlib.suppress(OSError, ValueError):
            pid, parent = self._written()
            return _parent_of(pid) != parent
        return False

    def _written(self) -> list[int]:
        """The holder's number, and that of the process which started it."""
        return [int(word) for word in os.pread(self._descriptor, 64, 0).split()]

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
