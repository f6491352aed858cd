"""Pacing of action sources, side by side with isaacteleop's own ``TeleopSession``.

    python tests/benchmarks/teleop_pacing.py            # 15 minutes on a quiet machine
    python tests/benchmarks/teleop_pacing.py --publish  # and write the docs' table and plot
    python tests/benchmarks/teleop_pacing.py --quick

Needs the extra ``teleop``. All ways take turns, so that other load on the machine hits each of
them. Prints one JSON line per load and way.
"""

from __future__ import annotations

import functools
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from holdstep.envs import make
from holdstep.extras import require
from holdstep.wrappers.pipeline.pacing import Adaptive
from holdstep.wrappers.pipeline.pipelined_actions import PipelinedActions
from tests.benchmarks import report
from tests.benchmarks.measure import machine
from tests.benchmarks.teleop_loop import Measured, WorkingEnv, run_loop
from tests.benchmarks.teleop_plot import draw
from tests.benchmarks.teleop_sources import (
    LOADS,
    Stamper,
    StampingSource,
    TeleopStamps,
    write_empty_mcap,
)

TUNED_ON = ("constant 10 ms", "10 ms, 5% of 30 ms", "busy 10 ms", "constant 25 ms")
NOT_TUNED_ON = (
    "6 ms, bursts of 18 ms",
    "heavy tail, median 12 ms",
    "busy 6 ms",
    "10 ms, uneven steps",
)
FILE = report.DOCS / "benchmarks" / "teleop.jsonl"

Driven = tuple[WorkingEnv, Callable[[], object]]
"""An env, and what submits a frame and has the env apply the newest one."""


@dataclass
class Arguments:
    """What to measure."""

    loads: tuple[str, ...] = (*TUNED_ON, *NOT_TUNED_ON)
    """Names of loads, of those in tests/wrappers/pipeline/pacing/loads.py."""

    steps: int = 180
    """Steps that count, of each run."""

    repeats: int = 5
    """Runs of each way with each load; medians over them are told."""

    quick: bool = False
    """A look in a minute: two loads, two short runs."""

    publish: bool = False
    """Write docs/benchmarks/teleop.jsonl, and the page and the plot that are made from it."""


@contextmanager
def isaacteleop_way(margin_s: float | None, load: str, seed: int) -> Iterator[Driven]:
    """A real session; immediate without a margin."""
    from isaacteleop.teleop_session_manager import DeadlinePacingConfig, ImmediatePacingConfig

    pacing = (
        ImmediatePacingConfig()
        if margin_s is None
        else DeadlinePacingConfig(safety_margin_s=margin_s)
    )
    epoch_s = time.monotonic()
    env = working_env(load, seed, epoch_s)
    with tempfile.TemporaryDirectory() as folder:
        mcap = Path(folder) / "empty.mcap"
        write_empty_mcap(mcap)
        env.reset()
        with TeleopStamps(Stamper(load, seed, epoch_s), pacing, mcap) as session:
            yield env, lambda: env.step(session.action()[None])
    env.close()


@contextmanager
def holdstep_way(worker: Literal["thread", "process"], load: str, seed: int) -> Iterator[Driven]:
    """The same load and env with :class:`PipelinedActions`."""
    epoch_s = time.monotonic()
    env = working_env(load, seed, epoch_s)
    make_source = functools.partial(StampingSource, load, seed, epoch_s)
    source: Any = make_source if worker == "process" else make_source()
    pipelined = PipelinedActions(env, source, pacing=Adaptive(), worker=worker)
    try:
        pipelined.reset()
        yield env, pipelined.step
    finally:
        pipelined.close()


Way = Callable[[str, int], AbstractContextManager[Driven]]

WAYS: dict[str, Way] = {
    "isaacteleop, immediate": functools.partial(isaacteleop_way, None),
    "isaacteleop, deadline 15 ms": functools.partial(isaacteleop_way, 0.015),
    "isaacteleop, deadline 5 ms": functools.partial(isaacteleop_way, 0.005),
    "holdstep, Adaptive": functools.partial(holdstep_way, "thread"),
}
BUSY_WAYS: dict[str, Way] = {
    **WAYS,
    "holdstep, Adaptive, process": functools.partial(holdstep_way, "process"),
}


def working_env(load: str, seed: int, epoch_s: float) -> WorkingEnv:
    """One row that takes the load's time to step."""
    env = make("holdstep:PointMass", num_envs=1, device="cpu", seed=0)
    return WorkingEnv(env, LOADS[load], seed=seed, epoch_s=epoch_s)


def measure(way: Way, load: str, *, steps: int, seed: int) -> Measured:
    """One run."""
    with way(load, seed) as (env, step):
        return run_loop(step, env, LOADS[load], steps=steps)


def line_of(load: str, way: str, runs: list[Measured]) -> dict[str, Any]:
    """Medians over runs, and the lowest and highest."""
    ages_ms = [1e3 * float(np.median(run.input_ages_s)) for run in runs]
    tails_ms = [1e3 * float(np.quantile(run.input_ages_s, 0.95)) for run in runs]
    misses = [100 * run.num_missed / len(run.ages_frames) for run in runs]
    blocked_ms = 1e3 * np.array([np.quantile(run.blocked_s, (0.5, 0.95)) for run in runs])
    is_tuned_on = load in TUNED_ON
    return {
        "benchmark": "pacing" if is_tuned_on else "pacing, loads not tuned on",
        "load": load,
        "way": way,
        "age_p50_ms": round(float(np.median(ages_ms)), 1),
        "age_p50_spread": f"{min(ages_ms):.1f}-{max(ages_ms):.1f}",
        "age_p95_ms": round(float(np.median(tails_ms)), 1),
        "missed_percent": round(float(np.median(misses)), 1),
        "missed_spread": f"{min(misses):.1f}-{max(misses):.1f}",
        "blocked_p50_ms": round(float(np.median(blocked_ms[:, 0])), 2),
        "blocked_p95_ms": round(float(np.median(blocked_ms[:, 1])), 2),
        "steps_per_s": round(1 / float(np.median([run.period_s for run in runs])), 1),
        "runs": len(runs),
        "steps": len(runs[0].ages_frames),
        **machine(torch.device("cpu")),
        "isaacteleop": version("isaacteleop"),
    }


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print."""
    for module in ("isaacteleop", "mcap"):
        require(module, extra="teleop", purpose="Measuring beside isaacteleop")
    loads, steps, repeats = arguments.loads, arguments.steps, arguments.repeats
    if arguments.quick:
        loads, steps, repeats = loads[:2], min(steps, 100), 2
    lines = []
    for load in loads:
        ways = BUSY_WAYS if LOADS[load].hindered else WAYS
        runs: dict[str, list[Measured]] = {way: [] for way in ways}
        for repeat, (name, way) in itertools.product(range(repeats), ways.items()):
            runs[name].append(measure(way, load, steps=steps, seed=repeat))
        for name in ways:
            line = line_of(load, name, runs[name])
            print(json.dumps(line), flush=True)
            lines.append(line)
    if arguments.publish:
        FILE.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        print(f"wrote {FILE}, {report.write()} and {draw(lines)}")
    return lines


if __name__ == "__main__":
    main(tyro.cli(Arguments))
