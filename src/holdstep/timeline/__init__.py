"""Traces of runs: what each row of a batch did at each tick, and what it waited for."""

from __future__ import annotations

from holdstep.timeline.chrome import to_chrome_trace, write_chrome_trace
from holdstep.timeline.crop import crop
from holdstep.timeline.html_page import write_html
from holdstep.timeline.intervals import IntervalMaker, RowIntervals
from holdstep.timeline.png import draw_png
from holdstep.timeline.reader import read_timeline
from holdstep.timeline.spans import Call, EpisodeSpan, Interval, Note, Sample
from holdstep.timeline.states import RowState
from holdstep.timeline.summary import TimelineSummary, summarize
from holdstep.timeline.timeline import Timeline
from holdstep.timeline.writer import TimelineWriter

__all__ = [
    "Call",
    "EpisodeSpan",
    "Interval",
    "IntervalMaker",
    "Note",
    "RowIntervals",
    "RowState",
    "Sample",
    "Timeline",
    "TimelineSummary",
    "TimelineWriter",
    "crop",
    "draw_png",
    "read_timeline",
    "summarize",
    "to_chrome_trace",
    "write_chrome_trace",
    "write_html",
]
