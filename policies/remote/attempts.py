"""Asking again: bounded attempts with pauses between them, within a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from holdstep.errors import (
    RemoteConnectionError,
    RemotePolicyError,
    RemoteProtocolError,
    RemoteRejectedError,
    RemoteTimeoutError,
)
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    from holdstep.policies.remote.limits import CallLimits

T = TypeVar("T")


class Fault(Exception):  # noqa: N818  (no user sees it)
    """One attempt failed; which rows were concerned is known further up.

    Attributes:
        reason: what happened, as the second half of a sentence that begins with the server.
        advice: what to do, as a sentence.
        error: what it becomes in the end.
        retry: whether it is worth another attempt.
    """

    error: type[RemotePolicyError] = RemotePolicyError
    retry = False

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


class TimeoutFault(Fault):
    """No answer in time."""

    error = RemoteTimeoutError
    retry = True


class ConnectionFault(Fault):
    """No connection, or none any more."""

    error = RemoteConnectionError
    retry = True


class ProtocolFault(Fault):
    """An answer that makes no sense."""

    error = RemoteProtocolError


class RejectedFault(Fault):
    """An error that the server reports."""

    error = RemoteRejectedError


class RetryClock:
    """Time between attempts. Tests put another one in its place."""

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """What is asked, for messages.

    Attributes:
        server: its kind, such as ``"GR00T"``.
        host: the server's.
        port: the server's.
        name: of the endpoint.
    """

    server: str
    host: str
    port: int
    name: str

    def error(
        self, fault: Fault, env_ids: Sequence[int], attempt: int, max_attempts: int
    ) -> RemotePolicyError:
        """What the user sees of a fault."""
        rows = f"env_ids {shortened(list(env_ids))}, " if env_ids else ""
        return fault.error(
            f"The {self.server} server at {self.host}:{self.port} {fault.reason} "
            f"({self.name}, {rows}attempt {attempt} of {max_attempts}). {fault.advice}",
            host=self.host,
            port=self.port,
            endpoint=self.name,
            env_ids=env_ids,
            attempt=attempt,
            max_attempts=max_attempts,
        )


def attempt(
    once: Callable[[float], T],
    *,
    endpoint: Endpoint,
    env_ids: Callable[[], Sequence[int]],
    limits: CallLimits,
    clock: RetryClock,
    num_in_turn: int = 1,
) -> T:
    """Do something that may fail, again if need be.

    Args:
        once: one attempt; gets the seconds until the deadline, raises :class:`Fault`.
        endpoint: what is asked.
        env_ids: the rows that have no answer yet.
        limits: bounds.
        clock: time.
        num_in_turn: answers that are waited for one after another; each has a deadline's time.

    Raises:
        RemotePolicyError: the last attempt's fault, as the user sees it.
    """
    deadline = clock.now() + limits.deadline_s * num_in_turn
    pause_s = limits.backoff_s
    notes: list[str] = []
    for number in range(1, limits.max_attempts + 1):
        try:
            return once(deadline - clock.now())
        except Fault as fault:
            out_of_time = clock.now() + pause_s >= deadline
            if not fault.retry or number == limits.max_attempts or out_of_time:
                error = endpoint.error(fault, env_ids(), number, limits.max_attempts)
                for note in notes:
                    error.add_note(note)
                raise error from fault.__cause__
            notes.append(f"Attempt {number}: it {fault.reason}.")
        clock.sleep(pause_s)
        pause_s *= 2
    raise AssertionError("unreachable: the last attempt returns or raises")
