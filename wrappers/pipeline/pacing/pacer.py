"""When a worker begins with a request, and how long a step may wait for it: the protocols."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Pacing(Protocol):
    """A way of pacing: options only, so that one may be shared and compared."""

    def pacer(self) -> Pacer:
        """A fresh pacer; each source has one of its own."""
        ...


class Pacer(Protocol):
    """Decides when work on a source's requests begins, from what has been observed so far.

    All times are on the pipeline's clock [s]; a pacer has no clock of its own, never sleeps, and
    never raises. The stepping thread and the worker both call it, under the pipeline's lock, so it
    needs no lock of its own and must be quick: each call takes microseconds.

    In a step, the stepping thread calls :meth:`submitted`; then, if the newest frame is not of the
    request before this one, :meth:`wait_s`, and waits until the next frame is finished, or for that
    long; then :meth:`polled`. The worker, while it is free and a request is pending, calls
    :meth:`start_time_s`, and again when a newer request has taken that one's place; and
    :meth:`finished` as soon as a frame is.
    """

    def submitted(self, now_s: float) -> None:
        """The host made a request; the seed, which is computed within the step, is one too."""

    def finished(self, begin_s: float, end_s: float) -> None:
        """A frame was computed, from ``begin_s`` to ``end_s``; the seed is one too."""

    def polled(self, now_s: float, age_frames: int) -> None:
        """The host took the newest frame, so many submissions old; it missed one if above 1."""

    def start_time_s(self, submitted_s: float) -> float:
        """When work should begin on the request that was made at ``submitted_s``.

        Never before ``submitted_s``. In the past means now.
        """
        ...

    def wait_s(self, now_s: float) -> float:
        """For how long the host's step may wait for the next frame, from now on."""
        ...
