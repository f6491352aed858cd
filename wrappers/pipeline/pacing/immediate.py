"""Begin at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Immediate:
    """Work on a request begins as soon as the worker is free.

    The fewest misses that can be had without waiting, and the oldest inputs: a source that needs
    10 ms of a frame of 20 ms is done after half of it, and what it read is then 10 ms older than it
    had to be. It is what isaacteleop's ``ImmediatePacingConfig`` does.
    """

    def pacer(self) -> ImmediatePacer:
        """A fresh pacer."""
        return ImmediatePacer()


class ImmediatePacer:
    """See :class:`Immediate`; it has nothing to remember."""

    def submitted(self, now_s: float) -> None:
        """Nothing follows from it."""

    def finished(self, begin_s: float, end_s: float) -> None:
        """Nothing follows from it."""

    def polled(self, now_s: float, age_frames: int) -> None:
        """Nothing follows from it."""

    def start_time_s(self, submitted_s: float) -> float:
        """At once."""
        return submitted_s

    def wait_s(self, now_s: float) -> float:
        """Never."""
        return 0.0
