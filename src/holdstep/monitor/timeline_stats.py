"""Statistics of a stack as counters in the trace of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.monitor.stack_stats import StackStats
    from holdstep.timeline import TimelineWriter


class TimelineStats:
    """A sink of :func:`~holdstep.monitor.watch` that writes into a trace.

    ``holdstep timeline FILE --chrome OUT`` shows them as counters beside the rows.

    Args:
        timeline: the trace, such as ``RecordTimeline(...).timeline``; it is not closed.
    """

    def __init__(self, timeline: TimelineWriter) -> None:
        self._timeline = timeline

    def show(self, found: StackStats, num_steps: int) -> None:
        """Write every number."""
        self._timeline.sample(found.scalars())

    def close(self) -> None:
        """The trace belongs to somebody else."""
