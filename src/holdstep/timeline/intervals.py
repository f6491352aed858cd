"""What a row did at each moment: ticks and calls put together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from holdstep.timeline.changes import Ints
from holdstep.timeline.spans import Interval
from holdstep.timeline.states import RowState
from holdstep.timeline.timeline import Floats, Timeline

# Differences of times in s are inexact; what differs by less than a clock tells is the same.
_RESOLUTION_S = 1e-9


@dataclass(frozen=True, eq=False)
class RowIntervals:
    """What one row did: interval k goes from ``edges_s[k]`` to ``edges_s[k + 1]``.

    Attributes:
        edges_s: ascending, float64 ``[K + 1]``.
        states: values of :class:`~holdstep.timeline.RowState`, int64 ``[K]``.
    """

    edges_s: Floats
    states: Ints

    def as_list(self) -> list[Interval]:
        """The intervals as objects."""
        edges = self.edges_s.tolist()
        return [
            Interval(begin_s=begin, end_s=end, state=RowState(state))
            for begin, end, state in zip(edges, edges[1:], self.states.tolist(), strict=False)
        ]


class IntervalMaker:
    """Tells what each row of a timeline did at each moment.

    In a tick, a row is active, suspended or parked; between two ticks that find it parked, and
    after a last one that does, it is so too. Where it is neither active nor parked and a call that
    was made for it is under way, it waits for that: the call runs, or is queued. Without either,
    between ticks, it waits for the batch. Time between ticks counts as such only where it is longer
    than :attr:`short_gap_s`, so that ordinary work between two steps does not cut every interval in
    two.

    Args:
        timeline: whose rows.

    Attributes:
        short_gap_s: the longest time between two ticks that is not shown: the median duration of a
            tick [s].
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        durations = timeline.tick_end_s - timeline.tick_begin_s
        self.short_gap_s = float(np.median(durations)) if timeline.num_ticks else 0.0

    @cached_property
    def breaks(self) -> Ints:
        """Ticks that begin after a gap that is shown."""
        gaps = self._timeline.tick_begin_s[1:] - self._timeline.tick_end_s[:-1]
        return (gaps > self.short_gap_s + _RESOLUTION_S).nonzero()[0] + 1

    def of_row(self, index: int) -> RowIntervals:
        """What a row did from the first tick or call of the timeline to the last.

        Args:
            index: of the row in the timeline.
        """
        tick_edges, tick_states = self._in_ticks(index)
        calls = self._calls_by_row[index]
        span = self._timeline.span_s
        edges = np.unique(np.concatenate([tick_edges, calls.ravel(), span]))
        edges = edges[np.searchsorted(edges, span[0]) :]  # a call may be queued before all else
        middles = (edges[:-1] + edges[1:]) / 2
        states = tick_states[np.searchsorted(tick_edges, middles, side="right")]
        waits = (states == RowState.SUSPENDED) | (states == RowState.NO_TICK)
        submitted, begins, ends = calls.T
        states[waits & _within(middles, submitted, begins)] = RowState.QUEUED
        states[waits & _within(middles, begins, ends)] = RowState.INFERENCE
        kept = np.append(True, states[1:] != states[:-1])[: states.size]
        return RowIntervals(np.append(edges[:-1][kept], edges[-1]), states[kept])

    def _in_ticks(self, index: int) -> tuple[Floats, Ints]:
        """Edges, and the state before, between and after them."""
        timeline = self._timeline
        ticks, values = timeline.states.row(index)
        if not ticks.size:
            return np.empty(0), np.array([RowState.NO_TICK], dtype=np.int64)
        starts = np.union1d(ticks, self.breaks)
        state = values[np.searchsorted(ticks, starts, side="right") - 1]
        begins = timeline.tick_begin_s[starts]
        # Until the next interval, however short the gap; but not across one that is shown.
        stops = np.append(begins[1:], timeline.tick_end_s[-1])
        before_break = np.append(np.isin(starts[1:], self.breaks), False)
        last_ticks = np.append(starts[1:], timeline.num_ticks) - 1
        stops[before_break] = timeline.tick_end_s[last_ticks[before_break]]
        edges = np.column_stack([begins, stops]).ravel()
        states = np.full(edges.size + 1, int(RowState.NO_TICK))
        states[1::2] = state
        parked = state == RowState.PARKED
        # A row that stays parked waits for no tick, nor does one that is so in the last tick.
        states[2::2][parked & np.append(parked[1:], True)] = RowState.PARKED
        return edges, states

    @cached_property
    def _calls_by_row(self) -> list[npt.NDArray[np.float64]]:
        """Submitted, begin and end of each row's calls, float64 ``[K, 3]`` each."""
        times = [(c.submitted_s, c.begin_s, c.end_s) for c in self._timeline.calls]
        sizes = [call.env_ids.size for call in self._timeline.calls]
        flat = np.repeat(np.array(times).reshape(-1, 3), sizes, axis=0)
        env_ids = [np.empty(0, dtype=np.int64), *(call.env_ids for call in self._timeline.calls)]
        rows = np.concatenate(env_ids)
        order = np.argsort(rows, kind="stable")
        starts = np.searchsorted(rows[order], self._timeline.env_ids, side="left")
        stops = np.searchsorted(rows[order], self._timeline.env_ids, side="right")
        return [flat[order[a:b]] for a, b in zip(starts, stops, strict=True)]


def _within(times: Floats, begins: Floats, ends: Floats) -> npt.NDArray[np.bool_]:
    """Whether each time lies in any of the stretches."""
    begun = np.searchsorted(np.sort(begins), times, side="right")
    ended = np.searchsorted(np.sort(ends), times, side="right")
    return begun > ended


def union_s(begins: Floats, ends: Floats) -> float:
    """The time that stretches cover together [s].

    >>> union_s(np.array([0.0, 1.0, 5.0]), np.array([2.0, 3.0, 6.0]))
    4.0
    """
    if not begins.size:
        return 0.0
    order = np.argsort(begins)
    begins, ends = begins[order], np.maximum.accumulate(ends[order])
    covered_until = np.append(-np.inf, ends[:-1])
    return float(np.maximum(ends - np.maximum(begins, covered_until), 0.0).sum())
