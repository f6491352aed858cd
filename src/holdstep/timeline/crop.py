"""A part of a timeline."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import TimelineError
from holdstep.timeline.changes import RowChanges
from holdstep.timeline.states import RowState

if TYPE_CHECKING:
    from holdstep.timeline.timeline import Timeline


def crop(
    timeline: Timeline,
    *,
    rows: slice | None = None,
    from_s: float | None = None,
    to_s: float | None = None,
) -> Timeline:
    """Some rows of a timeline, some seconds, or both.

    Ticks and calls that lie partly within the time are kept whole.

    Args:
        timeline: what to take it from.
        rows: of its rows, by index; None for all.
        from_s: begin [s since the trace began]; None for its begin.
        to_s: end [s since the trace began]; None for its end.

    Raises:
        TimelineError: nothing is left.
    """
    indices = range(timeline.num_envs)[rows or slice(None)]
    if not indices or indices.step < 1:
        raise TimelineError(
            f"The trace has rows 0 to {timeline.num_envs - 1}; none of them is in "
            f"{_text_of(rows)}. Give rows=slice(0, 32), or --rows 0:32 on the command line."
        )
    begin_s = -np.inf if from_s is None else from_s
    end_s = np.inf if to_s is None else to_s
    within = (timeline.tick_end_s >= begin_s) & (timeline.tick_begin_s <= end_s)
    ticks = within.nonzero()[0]
    first, last = (int(ticks[0]), int(ticks[-1]) + 1) if ticks.size else (0, 0)
    env_ids = timeline.env_ids[list(indices)]
    calls = tuple(
        dataclasses.replace(call, env_ids=chosen)
        for call in timeline.calls
        if call.end_s >= begin_s and call.begin_s <= end_s
        if (chosen := call.env_ids[np.isin(call.env_ids, env_ids)]).size
    )
    if not (ticks.size or calls):
        raise TimelineError(
            f"Nothing happened from {begin_s:g} s to {end_s:g} s; the trace goes from "
            "{:.3f} s to {:.3f} s.".format(*timeline.span_s)
        )
    rows_kept = set(env_ids.tolist())
    return dataclasses.replace(
        timeline,
        env_ids=env_ids,
        tick_begin_s=timeline.tick_begin_s[first:last],
        tick_end_s=timeline.tick_end_s[first:last],
        states=timeline.states.select(indices).window(first, last),
        staleness_changes=_staleness_changes(timeline, list(indices), first, last),
        staleness_known=timeline.staleness_known[first:last],
        calls=calls,
        episodes=tuple(
            dataclasses.replace(
                episode, begin_tick=episode.begin_tick - first, end_tick=episode.end_tick - first
            )
            for episode in timeline.episodes
            if episode.env_id in rows_kept
            and episode.end_tick >= first
            and episode.begin_tick < last
        ),
        notes=tuple(note for note in timeline.notes if begin_s <= note.at_s <= end_s),
        samples=tuple(sample for sample in timeline.samples if begin_s <= sample.at_s <= end_s),
        first_tick=timeline.first_tick + first,
    )


def _staleness_changes(timeline: Timeline, indices: list[int], first: int, last: int) -> RowChanges:
    """Where staleness does not go on as it did; in any case where it is first known."""
    nothing = np.empty(0, dtype=np.int64)
    rows, ticks, values = [nothing], [nothing], [nothing]
    if timeline.staleness_known[first:last].any():
        for position, index in enumerate(indices):
            states = timeline.states.of_row(index, timeline.num_ticks)[first:last]
            active = states == RowState.ACTIVE
            staleness = timeline.staleness_of(index)[first:last]
            known = (active & timeline.staleness_known[first:last]).nonzero()[0]
            base = (staleness - np.cumsum(active))[known]
            changed = known[np.diff(base, prepend=base[:1] - 1) != 0]
            rows.append(np.full(changed.size, position))
            ticks.append(changed)
            values.append(staleness[changed])
    return RowChanges.from_events(
        len(indices), np.concatenate(rows), np.concatenate(ticks), np.concatenate(values)
    )


def _text_of(rows: slice | None) -> str:
    if rows is None:
        return "all"
    return ":".join("" if part is None else str(part) for part in (rows.start, rows.stop))
