"""A trace in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from holdstep.timeline.changes import Ints, RowChanges
from holdstep.timeline.spans import Call, EpisodeSpan, Note, Sample
from holdstep.timeline.states import RowState

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """What the rows of a batch did, tick by tick: the content of a trace, or a part of it.

    Rows are addressed by index, 0 to N - 1; :attr:`env_ids` says which rows of the env they are,
    and :attr:`first_tick` which tick of the run the first one is. All times are seconds since the
    trace began.

    Attributes:
        env_ids: the rows of the env, int64 ``[N]``, ascending.
        tick_begin_s: when each tick began, ascending, float64 ``[T]``.
        tick_end_s: when it ended, float64 ``[T]``.
        states: what a tick found each row in, as values of :class:`~holdstep.timeline.RowState`.
        staleness_changes: where an active row's staleness is not one more than in its last active
            tick.
        staleness_known: ticks for which staleness was reported, bool ``[T]``.
        calls: calls of the policy, ordered by their begin; ``env_ids`` in them are the env's.
        episodes: episodes that ended, in the order in which they were reported.
        notes: remarks.
        samples: numbers that were read now and then.
        metadata: what the writer was given.
        wall_time_s: Unix time of the trace's begin [s].
        first_tick: number of tick 0 in the whole trace.
        complete: whether the writer ended the trace on purpose.
        problems: what the reader has to say about the file, a sentence each.
    """

    env_ids: Ints
    tick_begin_s: Floats
    tick_end_s: Floats
    states: RowChanges
    staleness_changes: RowChanges
    staleness_known: npt.NDArray[np.bool_]
    calls: tuple[Call, ...] = ()
    episodes: tuple[EpisodeSpan, ...] = ()
    notes: tuple[Note, ...] = ()
    samples: tuple[Sample, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    wall_time_s: float = 0.0
    first_tick: int = 0
    complete: bool = True
    problems: tuple[str, ...] = ()

    @property
    def num_envs(self) -> int:
        """Number of rows, N."""
        return self.env_ids.size

    @property
    def num_ticks(self) -> int:
        """Number of ticks, T."""
        return self.tick_begin_s.size

    @cached_property
    def span_s(self) -> tuple[float, float]:
        """When the first tick or call began, and when the last one ended [s]."""
        begins = [*self.tick_begin_s[:1].tolist(), *(call.begin_s for call in self.calls)]
        ends = [*self.tick_end_s[-1:].tolist(), *(call.end_s for call in self.calls)]
        return (min(begins), max(ends)) if begins else (0.0, 0.0)

    def state_matrix(self) -> npt.NDArray[np.uint8]:
        """What each tick found each row in, uint8 ``[T, N]``; all in memory."""
        matrix = np.empty((self.num_envs, self.num_ticks), dtype=np.uint8)
        for index in range(self.num_envs):
            matrix[index] = self.states.of_row(index, self.num_ticks)
        return matrix.T

    def num_rows_in(self, state: RowState) -> Ints:
        """How many rows each tick found in a state, int64 ``[T]``."""
        return self.states.count(int(state), self.num_ticks)

    def staleness_of(self, index: int) -> Ints:
        """Staleness of a row in each tick, int64 ``[T]``; -1 where it is not active or not known.

        Args:
            index: of the row in this timeline.
        """
        active = self.states.of_row(index, self.num_ticks) == RowState.ACTIVE
        ticks, values = self.staleness_changes.row(index)
        num_active = np.cumsum(active)
        # Between changes, staleness grows by one in each active tick; it begins at 0.
        first_known = int(np.argmax(self.staleness_known)) if self.num_ticks else 0
        base = np.append(values - num_active[ticks], -1 - num_active[:first_known][-1:].sum())
        latest = np.searchsorted(ticks, np.arange(self.num_ticks), side="right") - 1
        staleness = np.where(active & self.staleness_known, base[latest] + num_active, -1)
        return np.maximum(staleness, -1)

    @cached_property
    def staleness_per_tick(self) -> tuple[Floats, Floats, Ints]:
        """Mean and largest staleness over the rows for which it is known, and their number.

        Returns:
            float64 ``[T]`` [ticks], NaN where there are no such rows; and int64 ``[T]``.
        """
        total = np.zeros(self.num_ticks)
        count = np.zeros(self.num_ticks, dtype=np.int64)
        largest = np.full(self.num_ticks, -1)
        if self.staleness_known.any():
            for index in range(self.num_envs):
                staleness = self.staleness_of(index)
                total += np.maximum(staleness, 0)
                count += staleness >= 0
                np.maximum(largest, staleness, out=largest)
        known = count > 0
        mean = np.full(self.num_ticks, np.nan)
        np.divide(total, count, out=mean, where=known)
        return mean, np.where(known, largest, np.nan), count
