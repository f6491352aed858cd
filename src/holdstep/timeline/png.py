"""A timeline as a picture."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.errors import TimelineError
from holdstep.extras import require
from holdstep.timeline.intervals import IntervalMaker
from holdstep.timeline.lanes import lanes_of
from holdstep.timeline.palette import COLORS, ERROR_COLOR, LABELS
from holdstep.timeline.raster import Shares, state_shares, to_rgb
from holdstep.timeline.states import RowState
from holdstep.timeline.summary import summarize
from holdstep.timeline.text import description, headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from holdstep.timeline.timeline import Timeline

_WIDTH_IN = 13.0
_DPI = 120
_NUM_COLUMNS = 1400  # about the pixels of the plot's width
_MAX_LINES = 640  # and of its height
_MAX_LANES = 6
_MAX_MARKED_ROWS = 128  # of which the ends of episodes can be seen


def draw_png(timeline: Timeline, path: str | Path, *, title: str = "") -> Path:
    """Draw rows over time: what each one did, the calls above, and staleness below.

    A pixel shows the mixture of what its rows did in its time. No display is needed.

    Args:
        timeline: what to draw; :func:`~holdstep.timeline.crop` gives a part of one.
        path: of the PNG file; folders are made.
        title: its first line.

    Returns:
        The file's path.

    Raises:
        TimelineError: there is no tick and no call in it.
        MissingExtraError: matplotlib is not installed.
    """
    figure_class = require("matplotlib.figure", extra="plot", purpose="Drawing a timeline").Figure
    begin_s, end_s = timeline.span_s
    if end_s <= begin_s:
        raise TimelineError("The trace has no tick and no call that takes time: nothing to draw.")
    path = Path(path)
    shares = state_shares(timeline, num_columns=_NUM_COLUMNS, max_lines=_MAX_LINES)
    # A Figure of its own, not pyplot: no window system, no global state.
    figure = _figure(figure_class, timeline)
    panels = _panels(figure, timeline)
    if "calls" in panels:
        _draw_calls(panels["calls"], timeline)
    _draw_rows(panels["rows"], timeline, shares)
    _draw_mix(panels["mix"], timeline, shares)
    if "staleness" in panels:
        _draw_staleness(panels["staleness"], timeline)
    *_, last = panels.values()
    for axes in panels.values():
        axes.set_xlim(begin_s, end_s)
        axes.tick_params(labelbottom=axes is last)
        axes.spines[["top", "right"]].set_visible(False)
    last.set_xlabel("wall-clock time since the trace began [s]")
    figure.align_ylabels()
    _write_titles(figure, timeline, title)
    _draw_legend(figure, timeline, shares)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI, format="png")
    return path


def _figure(figure_class: Any, timeline: Timeline) -> Figure:
    heights = _heights(timeline)
    figure: Figure = figure_class(figsize=(_WIDTH_IN, sum(heights.values()) + 2.0))
    figure.set_layout_engine("constrained", h_pad=0.06, w_pad=0.1, hspace=0.0)
    return figure


def _heights(timeline: Timeline) -> dict[str, float]:
    """The panels from top to bottom, and how high each is [inch]."""
    heights = {"rows": min(max(0.2 * timeline.num_envs, 1.2), 5.5), "mix": 0.9}
    if timeline.calls:
        heights = {"calls": 0.25 + 0.25 * min(_num_lanes(timeline), _MAX_LANES)} | heights
    if timeline.staleness_known.any():
        heights["staleness"] = 1.0
    return heights


def _num_lanes(timeline: Timeline) -> int:
    return max(lanes_of(timeline.calls), default=-1) + 1


def _panels(figure: Figure, timeline: Timeline) -> dict[str, Axes]:
    heights = _heights(timeline)
    axes = figure.subplots(
        len(heights), 1, sharex=True, squeeze=False, height_ratios=list(heights.values())
    )
    return dict(zip(heights, axes[:, 0], strict=True))


def _draw_calls(axes: Axes, timeline: Timeline) -> None:
    lanes = [min(lane, _MAX_LANES - 1) for lane in lanes_of(timeline.calls)]
    begin_s, end_s = timeline.span_s
    wide = (end_s - begin_s) / 45  # enough for a number
    for call, lane in zip(timeline.calls, lanes, strict=True):
        if call.begin_s - call.submitted_s > (end_s - begin_s) / _NUM_COLUMNS:
            axes.plot(
                [max(call.submitted_s, begin_s), call.begin_s],
                [lane, lane],
                color=COLORS[RowState.QUEUED],
                lw=1.5,
                solid_capstyle="butt",
                zorder=0,  # in its own lane, another call may still run
            )
        if call.end_s - call.begin_s > wide:
            axes.text(
                (call.begin_s + call.end_s) / 2,
                lane,
                f"{call.env_ids.size}",
                color="white",
                ha="center",
                va="center",
                fontsize=7,
            )
    least = (end_s - begin_s) / _NUM_COLUMNS  # a call that is shorter than a pixel is seen too
    axes.barh(
        lanes,
        [max(call.end_s - call.begin_s, least) for call in timeline.calls],
        left=[call.begin_s for call in timeline.calls],
        height=0.72,
        color=[
            ERROR_COLOR if call.error is not None else COLORS[RowState.INFERENCE]
            for call in timeline.calls
        ],
        edgecolor="white",
        lw=0.6 if len(lanes) <= 300 else 0,
    )
    axes.set_ylim(max(lanes) + 0.5, -0.5)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False)
    axes.set_ylabel("calls", rotation=0, ha="right", va="center")


def _draw_rows(axes: Axes, timeline: Timeline, shares: Shares) -> None:
    begin_s, end_s = timeline.span_s
    num_envs = timeline.num_envs
    axes.imshow(
        to_rgb(shares),
        aspect="auto",
        interpolation="nearest" if num_envs <= _MAX_LINES else "antialiased",
        extent=(begin_s, end_s, num_envs - 0.5, -0.5),
    )
    if num_envs <= 40:
        axes.hlines(np.arange(1, num_envs) - 0.5, begin_s, end_s, color="white", lw=1.5)
    if num_envs <= _MAX_MARKED_ROWS:
        _draw_episode_ends(axes, timeline)
    step = max(1, 2 ** math.ceil(math.log2(num_envs / 16)))
    axes.set_yticks(range(0, num_envs, step), timeline.env_ids[::step].tolist())
    axes.set_ylabel("row of the env")


def _draw_episode_ends(axes: Axes, timeline: Timeline) -> None:
    line_of = {env_id: line for line, env_id in enumerate(timeline.env_ids.tolist())}
    ends = [e for e in timeline.episodes if e.end_tick < timeline.num_ticks]
    lines = np.array([line_of[e.env_id] for e in ends])
    axes.vlines(
        timeline.tick_end_s[[e.end_tick for e in ends]] if ends else [],
        lines - 0.42,
        lines + 0.42,
        color=["black" if e.success is not False else ERROR_COLOR for e in ends],
        lw=1.2,
    )


def _draw_mix(axes: Axes, timeline: Timeline, shares: Shares) -> None:
    begin_s, end_s = timeline.span_s
    mix = shares.mean(axis=0)
    middles = begin_s + (np.arange(_NUM_COLUMNS) + 0.5) * (end_s - begin_s) / _NUM_COLUMNS
    axes.stackplot(
        middles,
        [100 * mix[:, state] for state in LABELS],
        colors=[COLORS[state] for state in LABELS],
        step="mid",
        lw=0,
    )
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.set_ylabel("% of rows")


def _draw_staleness(axes: Axes, timeline: Timeline) -> None:
    mean, largest, _ = timeline.staleness_per_tick
    breaks = IntervalMaker(timeline).breaks  # no line across the time in which nothing ticks
    times = np.insert(timeline.tick_begin_s, breaks, np.nan)
    axes.plot(times, np.insert(largest, breaks, np.nan), color="0.6", lw=0.9, label="largest")
    axes.plot(times, np.insert(mean, breaks, np.nan), color="black", lw=0.9, label="mean")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("staleness\n[ticks]")
    axes.legend(loc="upper right", fontsize=7, ncols=2, framealpha=0.8, borderpad=0.2)


def _write_titles(figure: Figure, timeline: Timeline, title: str) -> None:
    lines = [title] if title else []
    lines += textwrap.wrap(description(timeline), 150)[:2]
    lines.append(headline(summarize(timeline)))
    # Not parsed: a name with two dollar signs is no formula.
    figure.suptitle(
        "\n".join(lines), x=0.01, ha="left", fontsize=9.5, linespacing=1.5, parse_math=False
    )


def _draw_legend(figure: Figure, timeline: Timeline, shares: Shares) -> None:
    patch = require("matplotlib.patches", extra="plot", purpose="Drawing a timeline").Patch
    line = require("matplotlib.lines", extra="plot", purpose="Drawing a timeline").Line2D
    present = shares.max(axis=(0, 1)) > 0
    handles = [
        patch(facecolor=COLORS[state], edgecolor="0.6", lw=0.5, label=label)
        for state, label in LABELS.items()
        if present[state]
    ]
    if any(call.error is not None for call in timeline.calls):
        handles.append(patch(facecolor=ERROR_COLOR, label="call failed"))
    if timeline.num_envs <= _MAX_MARKED_ROWS and timeline.episodes:
        mark = {"marker": "|", "ls": "none", "ms": 9, "mew": 1.5}
        handles.append(line([], [], color="black", label="episode ends", **mark))
        if any(episode.success is False for episode in timeline.episodes):
            handles.append(line([], [], color=ERROR_COLOR, label="without success", **mark))
    figure.legend(
        handles=handles, loc="outside lower left", ncols=len(handles), fontsize=8.5, frameon=False
    )
