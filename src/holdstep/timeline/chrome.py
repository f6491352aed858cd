"""A timeline in the Trace Event Format, for Perfetto and chrome://tracing."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.timeline.intervals import IntervalMaker
from holdstep.timeline.lanes import lanes_of
from holdstep.timeline.palette import LABELS
from holdstep.timeline.states import TICK_STATES, RowState

if TYPE_CHECKING:
    from holdstep.timeline.timeline import Timeline

Event = dict[str, Any]

_BATCH, _CALLS, _ROWS, _EPISODES = 1, 2, 3, 4
"""Processes of the trace, which viewers show as groups of tracks."""


def to_chrome_trace(timeline: Timeline) -> dict[str, Any]:
    """The timeline as an object of the Trace Event Format, of which each event is a dict.

    Four groups of tracks: the ticks of the batch with counters of its rows, their staleness and
    what was sampled; the calls, side by side where several run at once; a track per row with what
    it did; and a track per row with its episodes.

    Args:
        timeline: what to export. An event takes about 100 bytes, and each row has one for
            everything that it did: :func:`~holdstep.timeline.crop` takes some rows of many.

    Returns:
        What ``json.dump`` writes as a file that Perfetto (https://ui.perfetto.dev) opens.
    """
    return {
        "displayTimeUnit": "ms",
        "otherData": {
            "wall_time_s": timeline.wall_time_s,
            **{str(key): str(value) for key, value in timeline.metadata.items()},
        },
        "traceEvents": [
            *_names(timeline),
            *_ticks(timeline),
            *_calls(timeline),
            *_rows(timeline),
            *_episodes(timeline),
            *_notes(timeline),
            *_samples(timeline),
        ],
    }


def write_chrome_trace(timeline: Timeline, path: str | Path) -> Path:
    """Write :func:`to_chrome_trace` into a file, compressed if its name ends in ``.gz``.

    Returns:
        The file's path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    trace = to_chrome_trace(timeline)
    data = json.dumps(trace, separators=(",", ":"), allow_nan=False).encode()
    path.write_bytes(gzip.compress(data, compresslevel=5) if path.suffix == ".gz" else data)
    return path


def _names(timeline: Timeline) -> Iterator[Event]:
    groups = {_BATCH: "batch", _CALLS: "calls", _ROWS: "rows", _EPISODES: "episodes"}
    for pid, name in groups.items():
        yield _metadata("process_name", pid, 0, name=name)
        yield _metadata("process_sort_index", pid, 0, sort_index=pid)
    yield _metadata("thread_name", _BATCH, 1, name="ticks")
    for lane in sorted(set(lanes_of(timeline.calls))):
        yield _metadata("thread_name", _CALLS, lane + 1, name=f"lane {lane}")
    for pid in (_ROWS, _EPISODES):
        for env_id in timeline.env_ids.tolist():
            yield _metadata("thread_name", pid, env_id + 1, name=f"row {env_id}")
            yield _metadata("thread_sort_index", pid, env_id + 1, sort_index=env_id)


def _metadata(kind: str, pid: int, tid: int, **args: Any) -> Event:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": args}


def _span(name: str, pid: int, tid: int, begin_s: float, end_s: float, **args: Any) -> Event:
    # Rounded as ends, not as lengths, so that what touches does not overlap.
    begin, end = _microseconds(begin_s), _microseconds(end_s)
    event: Event = {"ph": "X", "name": name, "pid": pid, "tid": tid}
    return event | {"ts": begin, "dur": end - begin, "args": args}


def _microseconds(time_s: float) -> int:
    return round(time_s * 1e6)


def _ticks(timeline: Timeline) -> Iterator[Event]:
    counts = {state: timeline.num_rows_in(state).tolist() for state in TICK_STATES}
    mean, largest, num_known = (array.tolist() for array in timeline.staleness_per_tick)
    times = zip(timeline.tick_begin_s.tolist(), timeline.tick_end_s.tolist(), strict=True)
    shown: dict[str, int] | None = None
    for tick, (begin_s, end_s) in enumerate(times):
        rows = {LABELS[state]: counts[state][tick] for state in TICK_STATES}
        number = timeline.first_tick + tick
        yield _span("tick", _BATCH, 1, begin_s, end_s, tick=number, **rows)
        event: Event = {"ph": "C", "pid": _BATCH, "tid": 1, "ts": _microseconds(begin_s)}
        if rows != shown:
            shown = rows
            yield event | {"name": "rows", "args": rows}
        if num_known[tick]:
            staleness = {"mean": mean[tick], "largest": largest[tick]}
            yield event | {"name": "staleness [ticks]", "args": staleness}


def _calls(timeline: Timeline) -> Iterator[Event]:
    for call, lane in zip(timeline.calls, lanes_of(timeline.calls), strict=True):
        args = {
            "rows": call.env_ids.size,
            "env_ids": _short(call.env_ids.tolist()),
            "queued_ms": round((call.begin_s - call.submitted_s) * 1e3, 3),
        }
        if call.error is not None:
            args["error"] = call.error
        yield _span(call.kind, _CALLS, lane + 1, call.begin_s, call.end_s, **args)


def _short(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:64])) + (", ..." if len(ids) > 64 else "")


def _rows(timeline: Timeline) -> Iterator[Event]:
    maker = IntervalMaker(timeline)
    for index, env_id in enumerate(timeline.env_ids.tolist()):
        row = maker.of_row(index)
        edges = row.edges_s.tolist()
        for begin_s, end_s, state in zip(edges, edges[1:], row.states.tolist(), strict=False):
            if state != RowState.NO_TICK:
                yield _span(LABELS[RowState(state)], _ROWS, env_id + 1, begin_s, end_s)


def _episodes(timeline: Timeline) -> Iterator[Event]:
    for episode in timeline.episodes:
        if not timeline.num_ticks or episode.begin_tick >= timeline.num_ticks:
            continue
        begin_s = timeline.tick_begin_s[max(episode.begin_tick, 0)]
        end_s = timeline.tick_end_s[min(episode.end_tick, timeline.num_ticks - 1)]
        total = episode.episode_return
        yield _span(
            f"episode {episode.episode_id}",
            _EPISODES,
            episode.env_id + 1,
            begin_s,
            end_s,
            episode_return=total if math.isfinite(total) else str(total),
            success=episode.success,
        )


def _notes(timeline: Timeline) -> Iterator[Event]:
    for note in timeline.notes:
        yield {
            "ph": "i",
            "s": "g",
            "name": note.text,
            "pid": _BATCH,
            "tid": 1,
            "ts": _microseconds(note.at_s),
        }


def _samples(timeline: Timeline) -> Iterator[Event]:
    for sample in timeline.samples:
        event: Event = {"ph": "C", "pid": _BATCH, "tid": 1, "ts": _microseconds(sample.at_s)}
        for name, value in sample.values.items():
            if math.isfinite(value):
                yield event | {"name": name, "args": {"value": value}}
