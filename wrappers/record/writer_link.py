"""A writer that is replaced when it dies, and is told again what the dead one had not done."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from holdstep.errors import RecordingError
from holdstep.wrappers.record.messages import Message
from holdstep.wrappers.record.writer import Shared
from holdstep.wrappers.record.writer_config import WriterConfig

_POLL_S = 0.0005
_MAX_FRUITLESS = 3


class Writer(Protocol):
    """A writer that runs somewhere.

    Attributes:
        ended: whether it is not running any more; costs nothing to ask.
        cause: the error that ended it, where that is known as an object.
    """

    ended: bool
    cause: BaseException | None

    def send(self, message: Message) -> None:
        """Add a message; never waits."""
        ...

    def pump(self) -> None:
        """Send what could not be sent before."""
        ...

    def describe_end(self) -> str:
        """How it ended."""
        ...

    def abandon(self) -> None:
        """Have it end without being told to close."""
        ...


StartWriter = Callable[[WriterConfig, Shared], Writer]


class WriterLink:
    """Sends messages to a writer, until each is done.

    A writer that was killed is replaced at once. One that failed (a full disk, say) is reported
    first; the call after that tries with a new one, so that who caught the error can go on once its
    reason is gone. Either way the new writer gets every message that was not done, in order, and
    finds out from the journal how far its predecessor came.

    Args:
        config: what the first writer is told.
        shared: what is shared with it.
        start: starts a writer.
        timeout_s: the longest time for which a writer that is waited for may show no sign of life.
        clock: time [s].
        sleep: waits [s].

    Attributes:
        num_restarts: how often a writer was replaced.

    Raises:
        RecordingError: the writer could not open the dataset.
    """

    def __init__(
        self,
        config: WriterConfig,
        shared: Shared,
        start: StartWriter,
        *,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config = config
        self._shared = shared
        self._control = shared.control
        self._start = start
        self._timeout_s = timeout_s
        self._clock = clock
        self._sleep = sleep
        self._open: deque[Message] = deque()  # sent, and not known to be done
        self._num_fruitless = 0  # restarts since a message was done
        self._is_reported = False  # that the writer has failed
        self._was_ready = False
        self._is_closing = False
        self.num_restarts = 0
        self._writer = start(config, shared)
        try:
            self.wait_until(lambda: self._control.get("ready") > 0)
        except BaseException:  # also an interrupt: it must not keep the dataset locked
            self._writer.abandon()
            raise

    def send(self, message: Message) -> None:
        """Have something done."""
        self._open.append(message)
        self._writer.send(message)

    def take_done(self) -> list[Message]:
        """The blocks that were committed since the last call."""
        self._writer.pump()
        released = self._control.released
        done = []
        while self._open and self._open[0].do == "block" and self._open[0].number < released:
            done.append(self._open.popleft())
        if done:
            self._num_fruitless = 0
        return done

    def check(self) -> None:
        """Notice that the writer has ended. Costs nothing while it has not.

        Raises:
            RecordingError: it has failed, or can't be replaced.
        """
        if self._writer.ended:
            self._replace()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for the writer.

        Raises:
            RecordingError: it fails meanwhile, or shows no sign of life.
        """
        begin_s = self._clock()
        beat = self._control.get("heartbeat_ns")
        while not condition():
            if self._writer.ended and not condition():
                self._replace()
            self._writer.pump()
            self._sleep(_POLL_S)
            if self._control.get("heartbeat_ns") != beat:
                begin_s, beat = self._clock(), self._control.get("heartbeat_ns")
            elif self._clock() - begin_s > self._timeout_s:
                raise RecordingError(
                    f"The writer of {self._config.path} has shown no sign of life for "
                    f"{self._timeout_s:g} s: its disk may have stopped answering. "
                    f"{self._what_is_left('Step again to wait longer, or set writer_timeout_s')}"
                )

    def flush(self, number: int) -> None:
        """Wait until everything that was sent is done."""
        message = Message("flush", number)
        self.send(message)
        try:
            self.wait_until(lambda: self._control.get("flushed") >= number)
        finally:
            self._open = deque(open_ for open_ in self._open if open_ is not message)

    def begin_close(self) -> None:
        """From now on nobody who catches an error can go on: a writer that fails is replaced once.

        Its reason may be gone by then, and its successor finds everything that was not done.
        """
        self._is_closing = self._is_reported = True

    def close(self, number: int) -> None:
        """Wait until everything is done and the writer has ended; after :meth:`begin_close`.

        Args:
            number: of the block after the last one.

        Raises:
            RecordingError: it fails, or shows no sign of life, so that what was not acknowledged is
                lost.
        """
        self.check()
        self.send(Message("close", number))
        # Not what the system says of its end: that may be lost, where others wait for children.
        self.wait_until(lambda: self._writer.ended and self._control.get("complete") > 0)

    def abandon(self) -> None:
        """Let the writer go."""
        self._writer.abandon()

    def _replace(self) -> None:
        reason = self._control.error
        self._was_ready = self._was_ready or self._control.get("ready") > 0
        if reason and not self._was_ready:
            raise RecordingError(f"Can't record to {self._config.path}: {reason}") from (
                self._writer.cause
            )
        if reason and not self._is_reported:
            self._is_reported = True
            raise RecordingError(
                f"Recording to {self._config.path} has failed: {reason}. "
                f"{self._what_is_left('Remove the reason and go on, or close the env')}"
            ) from self._writer.cause
        if self._num_fruitless == _MAX_FRUITLESS:
            raise RecordingError(
                f"The writer of {self._config.path} {self._writer.describe_end()}, and so did "
                f"{_MAX_FRUITLESS} more in its place. Acknowledged episodes are safe. The system's "
                "log may say who ended them (often the kernel, when memory is short)."
            )
        self._num_fruitless += 1
        self.num_restarts += 1
        self._is_reported = False
        self._control.error = ""
        self._control.set(ready=0)
        # One that never got its folder open has left nothing to go on with.
        config = dataclasses.replace(self._config, resumes=self._was_ready)
        self._writer = self._start(config, self._shared)
        for message in self._open:
            self._writer.send(message)
        self.wait_until(lambda: self._control.get("ready") > 0)

    def _what_is_left(self, advice: str) -> str:
        if self._is_closing:
            return "Acknowledged episodes are safe; the others are lost."
        return f"Acknowledged episodes are safe, and nothing else is lost yet. {advice}."
