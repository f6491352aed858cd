"""A timeline as a page to zoom into."""

from __future__ import annotations

import html
import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.errors import TimelineError
from holdstep.timeline.intervals import IntervalMaker
from holdstep.timeline.lanes import lanes_of
from holdstep.timeline.palette import COLORS, ERROR_COLOR, LABELS, rgb
from holdstep.timeline.states import RowState
from holdstep.timeline.summary import summarize
from holdstep.timeline.text import description, headline, table

if TYPE_CHECKING:
    from holdstep.timeline.changes import Ints, RowChanges
    from holdstep.timeline.timeline import Timeline

# Whatever stands in a trace, the page can load nothing and send nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_html(timeline: Timeline, path: str | Path, *, title: str = "") -> Path:
    """Write a page that draws rows over time, to zoom into and to point at; one file, no network.

    The page holds the trace, not a picture of it: it takes about 10 bytes for each tick and each
    change of a row.

    Args:
        timeline: what to show; :func:`~holdstep.timeline.crop` gives a part of one.
        path: of the HTML file; folders are made.
        title: its heading.

    Returns:
        The file's path.

    Raises:
        TimelineError: there is no tick and no call in it.
    """
    begin_s, end_s = timeline.span_s
    if end_s <= begin_s:
        raise TimelineError("The trace has no tick and no call that takes time: nothing to draw.")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(timeline, title or path.stem), encoding="utf-8")
    return path


def _page(timeline: Timeline, title: str) -> str:
    files = resources.files("holdstep.timeline")
    style = files.joinpath("page.css").read_text(encoding="utf-8")
    script = files.joinpath("page.js").read_text(encoding="utf-8")
    summary = summarize(timeline)
    problems = "".join(
        f'<p class="problem">{html.escape(problem)}</p>' for problem in timeline.problems
    )
    legend = "".join(
        f'<span><i style="background:{COLORS[state]}"></i>{label}</span>'
        for state, label in LABELS.items()
    )
    numbers = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        for name, value in table(summary)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{html.escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(description(timeline))}</p>
<p>{html.escape(headline(summary))}</p>
{problems}
<p class="help">Wheel: zoom time. Shift and wheel: zoom rows. Drag: move. Double click or 0: all of
it. Keys + - and arrows work too. Point at a row for what it does.</p>
<canvas id="plot" tabindex="0" aria-label="rows over time"></canvas>
<noscript><p class="problem">The plot needs JavaScript, which this page brings along.</p></noscript>
<p id="legend">{legend}</p>
<table>{numbers}</table>
<div id="tip"></div>
<script type="application/json" id="data">{_json(_data(timeline))}</script>
<script>
{script}</script>
</body>
</html>
"""


def _json(data: dict[str, Any]) -> str:
    """JSON in which nothing can end the element that it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(timeline: Timeline) -> dict[str, Any]:
    """What ``page.js`` draws; times in microseconds, rows by index."""
    edges = np.column_stack([timeline.tick_begin_s, timeline.tick_end_s]).ravel()
    microseconds = np.round(edges * 1e6).astype(np.int64)
    return {
        "span": [_us(time_s) for time_s in timeline.span_s],
        "env_ids": timeline.env_ids.tolist(),
        "first_tick": timeline.first_tick,
        "short_gap": _us(IntervalMaker(timeline).short_gap_s),
        "tick_origin": 0,
        "tick_steps": np.diff(microseconds, prepend=0).tolist(),
        "states": _changes(timeline.states),
        "stale": _changes(timeline.staleness_changes),
        "stale_known": _known(timeline),
        "calls": _calls(timeline),
        "episodes": _episodes(timeline),
        "labels": [LABELS[state] for state in RowState],
        "colors": [COLORS[state] for state in RowState],
        "rgb": [[round(255 * part) for part in rgb(COLORS[state])] for state in RowState],
        "order": [int(state) for state in LABELS],
        "error_color": ERROR_COLOR,
    }


def _us(time_s: float) -> int:
    return round(time_s * 1e6)


def _changes(changes: RowChanges) -> dict[str, list[int]]:
    return {
        "offsets": changes.offsets.tolist(),
        "ticks": changes.ticks.tolist(),
        "values": changes.values.tolist(),
    }


def _known(timeline: Timeline) -> list[int]:
    """Ticks at which staleness begins to be known, and ceases to be, in turns."""
    known = timeline.staleness_known.astype(np.int8)
    steps: list[int] = np.diff(known, prepend=0).nonzero()[0].tolist()
    return steps


def _calls(timeline: Timeline) -> list[dict[str, Any]]:
    return [
        {
            "submitted": _us(call.submitted_s),
            "begin": _us(call.begin_s),
            "end": _us(call.end_s),
            "kind": call.kind,
            "error": call.error,
            "num_rows": call.env_ids.size,
            "rows": _ranges(np.searchsorted(timeline.env_ids, call.env_ids)),
            "lane": lane,
        }
        for call, lane in zip(timeline.calls, lanes_of(timeline.calls), strict=True)
    ]


def _ranges(rows: Ints) -> list[int]:
    """Ascending numbers as begins and ends of ranges.

    >>> _ranges(np.array([0, 1, 2, 5]))
    [0, 3, 5, 6]
    """
    gaps = (np.diff(rows) > 1).nonzero()[0]
    begins = np.append(rows[:1], rows[gaps + 1])
    ends = np.append(rows[gaps], rows[-1:]) + 1
    flat: list[int] = np.column_stack([begins, ends]).ravel().tolist()
    return flat


def _episodes(timeline: Timeline) -> list[list[Any]]:
    """Index of the row, number, first and last tick, return or None, success or None."""
    index_of = {env_id: index for index, env_id in enumerate(timeline.env_ids.tolist())}
    return [
        [
            index_of[e.env_id],
            e.episode_id,
            e.begin_tick,
            e.end_tick,
            e.episode_return if math.isfinite(e.episode_return) else None,
            e.success,
        ]
        for e in timeline.episodes
    ]
