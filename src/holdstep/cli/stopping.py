"""Signals that end a command that would run for ever."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stops_on_signals() -> Iterator[None]:
    """Make SIGTERM, which service managers send, the same as Ctrl-C within the block."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Let a loop end between two of its steps, in which nothing is half done.

    The first Ctrl-C, or SIGTERM, is a request that the loop looks for; the second one interrupts,
    whatever is going on.

    Yields:
        Whether the loop has been asked to end.
    """
    asked = False

    def ask(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
