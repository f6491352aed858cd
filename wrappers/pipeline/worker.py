"""Where a source computes: what all kinds of workers have in common, and the simplest one."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from holdstep.wrappers.pipeline.desk import FrameDesk

if TYPE_CHECKING:
    from holdstep.wrappers.pipeline.computing import Computing
    from holdstep.wrappers.pipeline.frame import News, Submission
    from holdstep.wrappers.pipeline.pacing.pacer import Pacer


class Worker(ABC):
    """Computes the frames of one source; the host's side of it.

    The desk and the pacer are used under :attr:`_lock`, by the host's thread and the worker's.

    Args:
        computing: how frames are computed.
        env_ids: the source's rows.
        pacer: when work begins.

    Attributes:
        ready: whether the source has been started, well or not.
        stop_error: what it raised when it was stopped.
    """

    def __init__(self, computing: Computing, env_ids: tuple[int, ...], pacer: Pacer) -> None:
        self.computing = computing
        self.ready = False
        self.stop_error: BaseException | None = None
        self._env_ids = env_ids
        self._pacer = pacer
        self._lock = threading.Lock()
        self._desk = FrameDesk()
        self._must_stop = False  # that is, the source has been started

    @abstractmethod
    def start(self) -> None:
        """Have the source started; :attr:`ready` tells when that is done."""

    def submit(self, submission: Submission) -> int:
        """Ask for a frame, on which work begins with :meth:`wake` at the latest.

        Returns:
            How many requests that nobody worked on it replaces, 0 or 1.
        """
        with self._lock:
            self._pacer.submitted(submission.submitted_s)
            return self._desk.submit(submission)

    @abstractmethod
    def wake(self) -> None:
        """Have it look at what was submitted.

        A thread that wakes up takes the interpreter for its own Python. So steps call this when
        they are about to wait or to simulate, and not in the middle of their books.
        """

    def collect(self) -> News:
        """What has happened since the last call."""
        with self._lock:
            return self._desk.collect()

    def wait_s(self, now_s: float) -> float:
        """How long a step may wait for the next frame, as far as the pacing goes [s]."""
        with self._lock:
            return self._pacer.wait_s(now_s)

    def polled(self, now_s: float, age_frames: int) -> None:
        """A step has taken the newest frame."""
        with self._lock:
            self._pacer.polled(now_s, age_frames)

    @abstractmethod
    def restart(self) -> None:
        """Stop the source, which has failed, and start it again; the request that waits is kept."""

    @abstractmethod
    def begin_stop(self) -> None:
        """Have the source stopped once it is done with what it does; doesn't wait for that."""

    @abstractmethod
    def join(self, timeout_s: float) -> bool:
        """Wait until it is stopped, for so long at most; whether it is."""

    @abstractmethod
    def interrupt(self) -> None:
        """Ask a source that is still computing to give up."""

    def _start_source(self, caught: type[BaseException]) -> None:
        self._must_stop = True
        try:
            self.computing.source.start(self._env_ids)
        except caught as error:
            with self._lock:
                self._desk.fail(error)
        self.ready = True

    def _stop_source(self, caught: type[BaseException]) -> None:
        if not self._must_stop:
            return
        self._must_stop = False
        try:
            self.computing.source.stop()
        except caught as error:
            self.stop_error = error

    def _compute(self, submission: Submission, caught: type[BaseException]) -> None:
        try:
            frame = self.computing.frame(submission)
            with self._lock:
                self._pacer.finished(frame.begin_s, frame.end_s)
                self._desk.finish(frame)
        except caught as error:
            with self._lock:
                self._desk.fail(error)


class InlineWorker(Worker):
    """Computes in the stepping thread, before ``submit`` returns."""

    def start(self) -> None:
        """Start the source, now."""
        self._start_source(Exception)

    def submit(self, submission: Submission) -> int:
        """Compute a frame."""
        num_replaced = super().submit(submission)
        self._work()
        return num_replaced

    def wake(self) -> None:
        """Nothing waits."""

    def restart(self) -> None:
        """Restart the source, and compute what had failed."""
        self._stop_source(Exception)
        self._desk.recover()
        self._start_source(Exception)
        self._work()

    def begin_stop(self) -> None:
        """Stop the source."""
        self._stop_source(Exception)

    def join(self, timeout_s: float) -> bool:
        """Nothing runs."""
        return True

    def interrupt(self) -> None:
        """Nothing runs."""

    def _work(self) -> None:
        if not self._desk.can_begin:
            return
        try:
            self._compute(self._desk.begin(), Exception)
        finally:  # after a KeyboardInterrupt, the request is still to be worked on
            self._desk.give_back()
