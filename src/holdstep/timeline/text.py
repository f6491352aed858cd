"""A timeline's numbers in words, for titles and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.timeline.summary import TimelineSummary
    from holdstep.timeline.timeline import Timeline


def percent(share: float) -> str:
    """A share in per cent.

    >>> percent(0.0512), percent(float("nan"))
    ('5.1%', '-')
    """
    return "-" if math.isnan(share) else f"{share:.1%}"


def number(value: float, digits: int = 1, unit: str = "") -> str:
    """A number with a unit.

    >>> number(1234.56, 1, " s"), number(float("nan"))
    ('1,234.6 s', '-')
    """
    return "-" if math.isnan(value) else f"{value:,.{digits}f}{unit}"


def duration(seconds: float) -> str:
    """A duration in a unit that suits it.

    >>> duration(0.0000042), duration(0.0123), duration(75.0)
    ('4.2 µs', '12.3 ms', '75.0 s')
    """
    if math.isnan(seconds):
        return "-"
    if seconds >= 1.0:
        return f"{seconds:,.1f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"


def headline(summary: TimelineSummary) -> str:
    """The numbers that matter most, on one line."""
    parts = [
        f"{number(summary.useful_steps_per_s, 0)} useful env-steps/s",
        f"suspended {percent(summary.suspended_share)}",
    ]
    if summary.num_calls:
        parts.append(
            f"calls run {percent(summary.inference_share)} of the time "
            f"({summary.num_calls:,} of {number(summary.mean_rows_per_call)} rows, "
            f"{duration(summary.mean_call_s)} each)"
        )
    parts.append(f"idle {percent(summary.idle_share)}")
    if not math.isnan(summary.mean_staleness_ticks):
        parts.append(
            f"staleness {summary.mean_staleness_ticks:.1f} ticks "
            f"(max {summary.max_staleness_ticks:.0f})"
        )
    return "  ·  ".join(parts)


def table(summary: TimelineSummary) -> list[tuple[str, str]]:
    """All numbers, each with its name."""
    rows = [
        ("duration", duration(summary.duration_s)),
        ("rows", f"{summary.num_envs:,}"),
        ("ticks", f"{summary.num_ticks:,}"),
        ("useful env-steps", f"{summary.num_useful_steps:,}"),
        ("useful env-steps/s", number(summary.useful_steps_per_s)),
        ("suspended, of live row-ticks", percent(summary.suspended_share)),
        ("parked, of row-ticks", percent(summary.parked_share)),
        ("ticks, of the time", percent(summary.tick_share)),
        ("calls, of the time", percent(summary.inference_share)),
        ("neither, of the time", percent(summary.idle_share)),
        ("calls", f"{summary.num_calls:,}"),
    ]
    if summary.num_failed_calls:
        rows.append(("failed calls", f"{summary.num_failed_calls:,}"))
    if summary.num_calls:
        rows += [
            ("rows per call", number(summary.mean_rows_per_call)),
            ("mean call", duration(summary.mean_call_s)),
            ("mean wait in the queue", duration(summary.mean_queue_s)),
        ]
    if not math.isnan(summary.mean_staleness_ticks):
        largest = number(summary.max_staleness_ticks, 0, " ticks")
        rows.append(("mean, largest staleness", f"{summary.mean_staleness_ticks:.2f}, {largest}"))
    if summary.num_episodes:
        rows += [
            ("episodes", f"{summary.num_episodes:,}"),
            ("mean return", number(summary.mean_return, 2)),
        ]
    if not math.isnan(summary.success_rate):
        rows.append(("success rate", percent(summary.success_rate)))
    return rows


def description(timeline: Timeline) -> str:
    """Rows, ticks, and what the writer was given to tell."""
    first = int(timeline.env_ids[0])
    some = timeline.num_envs != int(timeline.env_ids[-1]) + 1 or first
    rows = f"{timeline.num_envs:,} rows" + (f" ({first} to {timeline.env_ids[-1]})" if some else "")
    told = [f"{key}: {value}" for key, value in timeline.metadata.items()]
    return "  ·  ".join([f"{rows}, {timeline.num_ticks:,} ticks", *told])
