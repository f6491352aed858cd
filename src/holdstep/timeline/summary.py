"""A timeline in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdstep.timeline.intervals import union_s
from holdstep.timeline.states import RowState

if TYPE_CHECKING:
    from holdstep.timeline.timeline import Timeline


@dataclass(frozen=True, kw_only=True)
class TimelineSummary:
    """What a run did with its time. Shares are from 0 to 1; NaN where there is nothing to share.

    Attributes:
        duration_s: from the first tick or call to the end of the last [s].
        num_envs: rows.
        num_ticks: steps of the batch.
        num_useful_steps: steps of rows that advanced, over all rows.
        useful_steps_per_s: of these, per second of ``duration_s``.
        suspended_share: of the row-ticks of rows that are not parked, those suspended.
        parked_share: of all row-ticks, those parked.
        tick_share: of the duration, the time in which a tick ran.
        inference_share: of the duration, the time in which a call ran, beside ticks or not.
        idle_share: of the duration, the time in which neither ran.
        num_calls: calls.
        num_failed_calls: of these, those with an error.
        mean_rows_per_call: rows of a call.
        mean_call_s: of a call, from its begin to its end [s].
        mean_queue_s: of a call, from its submission to its begin [s].
        mean_staleness_ticks: over the active row-ticks for which it is known.
        max_staleness_ticks: likewise.
        num_episodes: episodes that ended.
        mean_return: over those with a finite one.
        success_rate: over those of which it was said.
    """

    duration_s: float
    num_envs: int
    num_ticks: int
    num_useful_steps: int
    useful_steps_per_s: float
    suspended_share: float
    parked_share: float
    tick_share: float
    inference_share: float
    idle_share: float
    num_calls: int
    num_failed_calls: int
    mean_rows_per_call: float
    mean_call_s: float
    mean_queue_s: float
    mean_staleness_ticks: float
    max_staleness_ticks: float
    num_episodes: int
    mean_return: float
    success_rate: float


def summarize(timeline: Timeline) -> TimelineSummary:
    """The numbers of a timeline, or of a part of one.

    Args:
        timeline: of any number of rows and ticks, also none.
    """
    begin_s, end_s = timeline.span_s
    duration_s = end_s - begin_s
    active = timeline.num_rows_in(RowState.ACTIVE)
    suspended = int(timeline.num_rows_in(RowState.SUSPENDED).sum())
    parked = int(timeline.num_rows_in(RowState.PARKED).sum())
    useful = int(active.sum())
    calls = timeline.calls
    call_begins = np.array([call.begin_s for call in calls])
    call_ends = np.array([call.end_s for call in calls])
    in_ticks = union_s(timeline.tick_begin_s, timeline.tick_end_s)
    in_calls = union_s(call_begins, call_ends)
    in_either = union_s(
        np.append(timeline.tick_begin_s, call_begins), np.append(timeline.tick_end_s, call_ends)
    )
    mean_staleness, max_staleness, num_known = timeline.staleness_per_tick
    known = num_known > 0
    returns = [e.episode_return for e in timeline.episodes if np.isfinite(e.episode_return)]
    successes = [e.success for e in timeline.episodes if e.success is not None]
    return TimelineSummary(
        duration_s=duration_s,
        num_envs=timeline.num_envs,
        num_ticks=timeline.num_ticks,
        num_useful_steps=useful,
        useful_steps_per_s=_ratio(useful, duration_s),
        suspended_share=_ratio(suspended, useful + suspended),
        parked_share=_ratio(parked, useful + suspended + parked),
        tick_share=_ratio(in_ticks, duration_s),
        inference_share=_ratio(in_calls, duration_s),
        idle_share=_ratio(max(duration_s - in_either, 0.0), duration_s),
        num_calls=len(calls),
        num_failed_calls=sum(call.error is not None for call in calls),
        mean_rows_per_call=_ratio(sum(call.env_ids.size for call in calls), len(calls)),
        mean_call_s=_ratio(sum(call.end_s - call.begin_s for call in calls), len(calls)),
        mean_queue_s=_ratio(sum(call.begin_s - call.submitted_s for call in calls), len(calls)),
        mean_staleness_ticks=_ratio(
            float((mean_staleness[known] * num_known[known]).sum()), int(num_known.sum())
        ),
        max_staleness_ticks=float(max_staleness[known].max()) if known.any() else float("nan"),
        num_episodes=len(timeline.episodes),
        mean_return=_ratio(sum(returns), len(returns)),
        success_rate=_ratio(sum(successes), len(successes)),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
