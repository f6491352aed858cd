"""The result of an evaluation as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from holdstep.policies.evaluation.intervals import Interval
    from holdstep.policies.evaluation.result import EvalResult

_MEANING = {
    "exact": "exact",
    "delayed": "delayed: actions follow observations a fixed number of steps old",
    "timing": "timing: depends on how long things took, will not repeat",
}


def result_table(result: EvalResult) -> Table:
    """What an evaluation found, one line for each number."""
    title = " / ".join(
        str(result.metadata[key]) for key in ("env", "policy") if key in result.metadata
    )
    table = Table(title=escape(title), show_header=False, title_justify="left")
    table.add_row("episodes", _episodes(result))
    table.add_row("success rate", _success(result))
    for text, part in _instructions(result).items():
        table.add_row(f"  {escape(text)}", f"{_success(part)}, {len(part.episodes)} episodes")
    table.add_row("mean return", f"{result.mean_return:.4g}{_interval(result.return_interval)}")
    table.add_row("mean length", f"{result.mean_length:.1f} env steps")
    table.add_row("ended by", f"task {result.num_terminated}, limit {result.num_truncated}")
    table.add_row("success is", escape(result.success_source))
    table.add_row("determinism", _MEANING.get(result.determinism, result.determinism))
    table.add_row("random numbers", _seeds(result))
    table.add_row("idle rows", result.idle_rows)
    table.add_row("time", f"{result.wall_time_s:.1f} s, {result.num_steps} steps")
    return table


def _episodes(result: EvalResult) -> str:
    rows = f"in {result.num_envs} rows"
    if result.is_complete:
        return f"{result.num_episodes} {rows}"
    return (
        f"[bold red]only {len(result.episodes)} of {result.num_episodes} ended[/], {rows}; "
        "all numbers favour short episodes"
    )


def _success(result: EvalResult) -> str:
    if result.success_rate is None:
        return "not reported"
    return f"{result.success_rate:.3f}{_interval(result.confidence_interval, result.confidence)}"


def _interval(interval: Interval | None, confidence: float | None = None) -> str:
    if interval is None:
        return ""
    level = "" if confidence is None else f" at {100 * confidence:.4g} %"
    return f"  ({interval[0]:.4g} to {interval[1]:.4g}{level})"


def _instructions(result: EvalResult) -> dict[str, EvalResult]:
    groups = result.by_instruction()
    return groups if 1 < len(groups) <= 20 else {}


def _seeds(result: EvalResult) -> str:
    if result.seed_scope == "episode":
        return f"a seed for each episode, from {result.seed}"
    return f"one seed for the run, {result.seed}: depends on the number of rows"
