"""What driving an env by sources beside it adds to a step.

    python tests/benchmarks/pipeline_step.py --num-envs 1 64

Prints one JSON line per measurement.
"""

from __future__ import annotations

import functools
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro

from holdstep.envs import make
from holdstep.wrappers import PipelinedActions, SuspendOnWait, VectorWrapper
from holdstep.wrappers.pipeline import ActionSource, SourceRequest, SourceResult
from tests.benchmarks.measure import machine


@dataclass
class Arguments:
    """What to measure."""

    env_id: str = "holdstep:PointMass"
    """Env; its own step is not counted, and no episode ends."""

    num_envs: tuple[int, ...] = (1, 64)
    """Rows."""

    compute_ms: float = 2.0
    """How long a source waits, as for a device."""

    period_ms: float = 8.0
    """Time between two steps, in which frames are finished: of a loop that sleeps, and of one that
    works through 4 MB, as a simulator does. A third one has none."""

    between: tuple[str, ...] = ("asleep", "working", "nothing")
    """Which of them."""

    steps: int = 200
    """Steps of each kind."""


class Waiting(ActionSource):
    """Takes its time, without keeping the interpreter busy."""

    def __init__(self, compute_s: float, *, uses_obs: bool = False) -> None:
        self.uses_obs = uses_obs
        self._compute_s = compute_s
        self._actions = torch.zeros(2)

    def compute(self, request: SourceRequest) -> SourceResult:
        """Wait, and stand still."""
        time.sleep(self._compute_s)
        return SourceResult(actions=self._actions)


class Stopwatch(VectorWrapper):
    """Measures the steps of the env inside: on the clock, and of this thread's computing."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.inside = np.zeros(2)

    def step(self, actions: torch.Tensor) -> Any:
        """Step, and measure it."""
        return self._measured(lambda: self.env.step(actions))

    def step_masked(self, actions: torch.Tensor, active_mask: torch.Tensor) -> Any:
        """Step some rows, and measure it."""
        return self._measured(lambda: self.env.step_masked(actions, active_mask))

    def _measured(self, step: Callable[[], Any]) -> Any:
        begin = now()
        result = step()
        self.inside = now() - begin
        return result


def now() -> np.ndarray:
    """Seconds on the clock, and that this thread has computed."""
    return np.array([time.perf_counter(), time.thread_time()])


def kinds(arguments: Arguments, num_envs: int) -> dict[str, dict[str, Any]]:
    """What is measured, as arguments of the wrapper."""
    source = functools.partial(Waiting, arguments.compute_ms / 1000)
    found = {
        "a thread": {"source": source()},
        "a thread, given observations": {"source": source(uses_obs=True)},
        "a thread, may suspend": {"source": source(), "on_stale": "suspend"},
        "a process": {"source": source, "worker": "process"},
    }
    if num_envs >= 8:
        rows = np.array_split(np.arange(num_envs), 8)
        sources = [source() for _ in range(8)]
        found["8 threads"] = {"source": sources, "groups": [ids.tolist() for ids in rows]}
    return found


def sleep(seconds: float) -> None:
    """After which nothing is left in the processor's caches, and its clock may be slower."""
    time.sleep(seconds)


def work(seconds: float) -> None:
    """Compute with more memory than the processor's own caches hold."""
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        _MEMORY.add_(1.0)


def nothing(seconds: float) -> None:
    """The next step follows at once; frames are then several steps old."""


_MEMORY = torch.zeros(1 << 20)
BETWEEN = {"asleep": sleep, "working": work, "nothing": nothing}


def measure(
    what: str,
    options: dict[str, Any],
    num_envs: int,
    arguments: Arguments,
    between: str = "asleep",
) -> dict[str, Any]:
    """One kind."""
    made = make(
        arguments.env_id, num_envs=num_envs, device="cpu", seed=0, max_episode_length=1_000_000
    )
    watch = Stopwatch(made)
    inner = SuspendOnWait(watch) if options.get("on_stale") == "suspend" else watch
    env = PipelinedActions(inner, **options)
    env.reset()
    added = []
    for step in range(arguments.steps + 20):
        begin = now()
        env.step()
        if step >= 20:
            added.append(now() - begin - watch.inside)
        BETWEEN[between](arguments.period_ms / 1000)
    env.close()
    wall, computed = np.median(np.array(added), axis=0) * 1e6
    return {
        "benchmark": "pipelined steps",
        "task": arguments.env_id,
        "num_envs": num_envs,
        "what": what,
        "between": between,
        "added_us": round(float(wall), 1),
        "p95_us": round(statistics.quantiles([row[0] * 1e6 for row in added], n=20)[-1], 1),
        "computed_us": round(float(computed), 1),
        **machine(torch.device("cpu")),
    }


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print everything."""
    lines = []
    for num_envs in arguments.num_envs:
        for (what, options), between in itertools.product(
            kinds(arguments, num_envs).items(), arguments.between
        ):
            if between == "nothing" and "on_stale" in options:
                continue  # its steps would wait for frames
            line = measure(what, options, num_envs, arguments, between)
            print(json.dumps(line), flush=True)
            lines.append(line)
    return lines


if __name__ == "__main__":
    main(tyro.cli(Arguments))
    sys.stdout.flush()
