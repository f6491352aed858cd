"""A source in a thread of its own, beside the simulation."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

from holdstep.torch_threads import obey_num_threads
from holdstep.wrappers.pipeline.worker import Worker

if TYPE_CHECKING:
    from holdstep.wrappers.pipeline.computing import Computing
    from holdstep.wrappers.pipeline.frame import Submission
    from holdstep.wrappers.pipeline.pacing.pacer import Pacer

_LOOK_AGAIN_S = 60.0
"""Between two looks, while there is nothing to do; whoever changes that wakes the thread."""


class ThreadWorker(Worker):
    """Computes in a daemon thread, from which all of the source's methods are called.

    Python runs in one thread at a time: a source that is busy in Python slows the steps down, and
    is slowed down by them. One that waits (for a device, a server, or another process) isn't.

    Args:
        computing: how frames are computed.
        env_ids: the source's rows.
        pacer: when work begins.
        news: set whenever there is something to collect.
        name: of the thread.
    """

    def __init__(
        self,
        computing: Computing,
        env_ids: tuple[int, ...],
        pacer: Pacer,
        *,
        news: threading.Event,
        name: str,
    ) -> None:
        super().__init__(computing, env_ids, pacer)
        self._clock = computing.clock
        self._news = news
        self._work = threading.Event()
        self._closing = False
        self._planned: Submission | None = None  # what is held back, and until when
        self._begin_s = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread, which starts the source."""
        self._thread.start()

    def wake(self) -> None:
        """Have the thread look at what was submitted."""
        self._work.set()

    def restart(self) -> None:
        """Have the thread restart the source."""
        with self._lock:
            self._desk.restarting = True
        self._work.set()

    def begin_stop(self) -> None:
        """Have the thread end after the computation that it is in."""
        self._closing = True
        self._work.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread."""
        if self._thread.ident is not None:  # it has been started
            self._thread.join(max(timeout_s, 0.0))
        return not self._thread.is_alive()

    def interrupt(self) -> None:
        """Call the source's ``interrupt()``, from this thread, if it has one."""
        interrupt = getattr(self.computing.source, "interrupt", None)
        if callable(interrupt):
            interrupt()

    def _run(self) -> None:
        obey_num_threads()
        stream = self.computing.stream
        # Whatever a source raises is told to the host: if it ended the thread instead, steps would
        # wait for it for ever.
        with nullcontext() if stream is None else stream.current():
            self._start_source(BaseException)
            self._news.set()
            while not self._closing:
                try:
                    self._go_on()
                except BaseException as error:  # of a pacing
                    with self._lock:
                        self._desk.fail(error)
                    self._news.set()
            self._stop_source(BaseException)

    def _go_on(self) -> None:
        """Restart, compute, or wait until there is something to do."""
        if self._desk.restarting:
            self._stop_source(BaseException)
            with self._lock:  # only now: what still fails is the source that was stopped
                self._desk.recover()
            self._start_source(BaseException)
            self._news.set()
        elif (submission := self._next()) is not None:
            self._compute(submission, BaseException)
            self._news.set()

    def _next(self) -> Submission | None:
        """The request to work on now; None after a wait, for whatever reason it ended."""
        self._work.clear()  # before the look, so that what comes after it ends the wait
        wait_s = _LOOK_AGAIN_S
        with self._lock:
            if self._desk.restarting or self._closing:
                return None
            if self._desk.can_begin:
                wait_s = self._begin_time_s() - self._clock.now()
                if wait_s <= 0:
                    self._planned = None
                    return self._desk.begin()
        self._clock.pause(self._work, min(wait_s, _LOOK_AGAIN_S))
        return None

    def _begin_time_s(self) -> float:
        """When to begin with what is pending; asked under the lock, while the thread is free."""
        pending = self._desk.pending
        assert pending is not None
        if pending is not self._planned:
            begin_s = self._pacer.start_time_s(pending.submitted_s)
            # One that replaces another is not held back longer than that one would have been:
            # steps that come quicker than expected would put it off for ever.
            self._begin_s = begin_s if self._planned is None else min(begin_s, self._begin_s)
            self._planned = pending
        return self._begin_s
