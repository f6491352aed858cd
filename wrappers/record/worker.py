"""Jobs done in order by one thread, bounded by the bytes that they hold."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from holdstep.errors import ConfigError, RecordingError

Job = Callable[[], object]


class Worker:
    """Does jobs in a thread of its own, one after the other, in the order of their submission.

    A job owns what it works on; whoever submits it must not touch that again. Jobs that wait hold
    memory, so a caller that is too fast waits until enough of it is free. A job that fails is the
    last one: the next call here raises its error, and what waited is dropped.

    Args:
        name: of the thread.
        max_bytes: the most that jobs which are not done may hold; a single job may hold more.
        clock: tells seconds.

    Attributes:
        blocked_s: how long callers have waited for memory [s].
    """

    def __init__(
        self, name: str, *, max_bytes: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if max_bytes < 1:
            raise ConfigError(f"max_bytes must be at least 1, got {max_bytes}.")
        self.blocked_s = 0.0
        self._name = name
        self._max_bytes = max_bytes
        self._clock = clock
        self._jobs: deque[tuple[Job, int]] = deque()
        self._held_bytes = 0
        self._changed = threading.Condition()
        self._is_busy = False
        self._closing = False
        self._error: BaseException | None = None
        # A daemon, since a script that forgets to close its recorder has to be able to end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def held_bytes(self) -> int:
        """What jobs that are not done hold [byte]."""
        return self._held_bytes

    def submit(self, job: Job, *, num_bytes: int) -> None:
        """Have a job done.

        Args:
            job: what to call.
            num_bytes: what it holds.

        Raises:
            RecordingError: an earlier job failed, which is the cause; or the worker is closed.
        """
        with self._changed:
            self._check()
            if self._held_bytes and self._held_bytes + num_bytes > self._max_bytes:
                started = self._clock()
                self._changed.wait_for(
                    lambda: (
                        self._error is not None
                        or not self._held_bytes
                        or self._held_bytes + num_bytes <= self._max_bytes
                    )
                )
                self.blocked_s += self._clock() - started
                self._check()
            self._held_bytes += num_bytes
            self._jobs.append((job, num_bytes))
            self._changed.notify_all()

    def check(self) -> None:
        """Raise the error of a job that failed.

        Raises:
            RecordingError: one did, which is the cause; or the worker is closed.
        """
        with self._changed:
            self._check()

    def wait(self) -> None:
        """Return when everything that was submitted is done.

        Raises:
            RecordingError: a job failed, which is the cause.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or not self._held_jobs())
            self._raise_error()

    def close(self) -> None:
        """Finish what was submitted and end the thread; may be called again.

        Raises:
            RecordingError: a job failed, which is the cause; raised once.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise self._failure(error) from error

    def _held_jobs(self) -> bool:
        return bool(self._jobs) or self._is_busy

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing)
                if not self._jobs:
                    return
                job, num_bytes = self._jobs.popleft()
                self._is_busy = True
            error: BaseException | None = None
            try:
                job()
            except BaseException as raised:  # whatever it is, the caller's thread has to know
                error = raised
            del job  # with what it holds, before somebody is let in for that
            with self._changed:
                self._is_busy = False
                self._held_bytes -= num_bytes
                if error is not None:
                    self._error = error
                    self._jobs.clear()
                    self._closing = True
                self._changed.notify_all()

    def _check(self) -> None:
        self._raise_error()
        if self._closing:
            raise RecordingError(f"The {self._name} is closed.")

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._failure(self._error) from self._error

    def _failure(self, error: BaseException) -> RecordingError:
        return RecordingError(f"The {self._name} failed, and does nothing any more: {error}")
