"""Env-steps per second of every scheduler, on a simulator, beside the bound that none can beat.

    python tests/benchmarks/chunk_scheduling.py --num-envs 64 --chunk-lengths 16 --costs flat

The policy's cost is calibrated: sleep stands for a policy on another device, matmul for one that
competes for the processor. Each scheduler has an env of its own; they take turns in short windows,
with a measurement of the bound before and after each, so that the machine's other work hits both.
With matmul, schedulers that wait for inferences are compared in processor time, too, in which that
other work does not count. Prints one JSON line per scheduler and setting.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
import tyro

from holdstep.envs import make
from holdstep.policies import (
    Adaptive,
    AnyTrigger,
    ChunkRequest,
    ChunkResult,
    ChunkRunner,
    ChunkSpec,
    Cohort,
    Continuous,
    GlobalClock,
    Scheduler,
)
from holdstep.wrappers import SuspendOnWait
from tests.benchmarks.measure import machine

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv

COSTS = {
    "flat": "200 ms, asleep",
    "pi0": "180 + 2 b ms, asleep",
    "matmul": "20 + 3 b ms, matrix products",
}


@dataclass
class Arguments:
    """What to measure."""

    task: str = "Mjlab-Cartpole-Balance"
    """mjlab task."""

    device: str = "cpu"
    """Where it is simulated."""

    level: Literal["exact", "skip"] = "exact"
    """How rows are held: stepped and put back, or (on a CPU) left out of the physics, which saves
    time where physics is expensive."""

    num_envs: tuple[int, ...] = (16, 64)
    """Rows."""

    chunk_lengths: tuple[int, ...] = (16, 32)
    """Actions of a chunk, all of them executed."""

    costs: tuple[str, ...] = tuple(COSTS)
    """What an inference of b rows takes: flat, pi0 or matmul."""

    episode_steps: int | None = 600
    """Time limit of an episode [env steps]; None for the task's own. Episodes end staggered."""

    schedulers: tuple[str, ...] = (
        "AnyTrigger",
        "GlobalClock",
        "Cohort",
        "Continuous",
        "Continuous(min_batch=1)",
        "Adaptive",
    )
    """Whom to compare."""

    rounds: int = 5
    """Turns of every scheduler; medians over them count."""

    chunks: int = 5
    """Chunks per row in a window."""

    settle_chunks: int = 40
    """Chunks per row before the first round, in which the adaptive scheduler makes its mind up."""


class CalibratedPolicy:
    """Actions that are all zero, for which it takes its time."""

    def __init__(self, cost: str, chunk_length: int, action_dim: int) -> None:
        self.spec = ChunkSpec(chunk_length=chunk_length, action_dim=action_dim)
        self._cost = cost
        self._matrix = torch.rand(512, 512)
        self._products_per_ms = _products_per_ms(self._matrix) if cost == "matmul" else 0.0

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """Spend the time."""
        rows = len(request)
        if self._cost == "matmul":
            for _ in range(round((20 + 3 * rows) * self._products_per_ms)):
                torch.mm(self._matrix, self._matrix)
        else:
            time.sleep(0.2 if self._cost == "flat" else 0.18 + 0.002 * rows)
        return ChunkResult(actions=torch.zeros(rows, self.spec.chunk_length, self.spec.action_dim))

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Nothing is remembered."""


def _products_per_ms(matrix: torch.Tensor) -> float:
    times = []
    for _ in range(50):
        begin_s = time.perf_counter()
        torch.mm(matrix, matrix)
        times.append(time.perf_counter() - begin_s)
    return 1e-3 / statistics.median(times)


def scheduler_named(name: str) -> Scheduler:
    """A new scheduler."""
    makers: dict[str, Callable[[], Scheduler]] = {
        "AnyTrigger": AnyTrigger,
        "GlobalClock": GlobalClock,
        "Cohort": Cohort,
        "Continuous": Continuous,
        "Continuous(min_batch=1)": lambda: Continuous(min_batch=1),
        "Adaptive": Adaptive,
    }
    return makers[name]()


class Moment(NamedTuple):
    """The time."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> Moment:
        """On the wall, and of the processor in this process."""
        return cls(time.perf_counter(), time.process_time())


class Contestant:
    """A runner with an env of its own, that goes on where its last window ended."""

    def __init__(self, name: str, policy: CalibratedPolicy, env: TorchVectorEnv) -> None:
        self.name = name
        self.rates: list[float] = []
        self.ratios: list[float] = []
        self.cpu_ratios: list[float] = []
        self.shares: list[float] = []
        self.runner = ChunkRunner(env, policy, scheduler_named(name))
        self.runner.reset(seed=0)
        _stagger(env)
        self._scatter()

    def run_window(self, chunks: int) -> tuple[float, float, float]:
        """Env-steps per second, and per second of the processor; share of row-steps that waited."""
        row_steps = self.runner.env.num_envs * self.runner.execute
        self._run(row_steps)  # what was inferred while others ran is used up here
        before, begin = self.runner.stats(), Moment.now()
        self._run(chunks * row_steps)
        after, end = self.runner.stats(), Moment.now()
        made = after.env_steps - before.env_steps
        waited = after.waiting_steps - before.waiting_steps
        return (
            made / (end.wall_s - begin.wall_s),
            made / (end.cpu_s - begin.cpu_s),
            waited / (made + waited),
        )

    def _scatter(self) -> None:
        """Begin each row's chunk at another step, as episodes that end do in the long run."""
        for tick in range(self.runner.execute):
            self.runner.step()
            rows = range(tick, self.runner.env.num_envs, self.runner.execute)
            if rows:
                self.runner.reset_rows(rows)
        _stagger(self.runner.env)

    def _run(self, row_steps: int) -> None:
        made = 0
        while made < row_steps:
            made += int(np.count_nonzero(self.runner.step().active_mask))


def _stagger(env: TorchVectorEnv) -> None:
    """Let episodes end one after the other, from now on as later."""
    limit = env.max_episode_length or 1000
    env.episode_length_buf = torch.arange(env.num_envs, device=env.device) * limit // env.num_envs


def make_env(num_envs: int, arguments: Arguments) -> SuspendOnWait:
    """A task that can be suspended."""
    settings: dict[str, Any] = {"num_envs": num_envs, "device": arguments.device, "seed": 0}
    with contextlib.redirect_stdout(io.StringIO()):
        adapter = make(f"mjlab:{arguments.task}", **settings)
        if arguments.episode_steps is not None:
            assert adapter.step_dt is not None
            settings["episode_length_s"] = arguments.episode_steps * adapter.step_dt
            adapter.close()
            adapter = make(f"mjlab:{arguments.task}", **settings)
    adapter.final_obs_enabled = False
    return SuspendOnWait(adapter, level=arguments.level, rng="per_env")


class Bound(NamedTuple):
    """``N L / (L S + I(N))``."""

    per_s: float
    step_s: float
    infer_s: float
    per_cpu_s: float


def bound(env: TorchVectorEnv, policy: CalibratedPolicy) -> Bound:
    """What no synchronous scheduler exceeds, measured now.

    By making that very loop: an inference for all rows, then L steps of all; once unmeasured, since
    another env was stepped before, as a scheduler's window begins, too, and twice measured. Steps
    right after a pause are slower than others, so S can't be measured without the inference.
    """
    length = policy.spec.chunk_length
    actions = torch.zeros(env.num_envs, policy.spec.action_dim, device=env.device)
    ids = torch.arange(env.num_envs)
    request = ChunkRequest(obs={}, env_ids=ids, episode_ids=ids, chunk_ids=ids, seeds=ids)
    step_s = infer_s = cpu_s = 0.0
    for part in range(3):
        begin = Moment.now()
        policy.infer(request)
        inferred_s = time.perf_counter()
        for _ in range(length):
            env.step(actions)[2].any().item()  # waits for a GPU
        if part > 0:
            end = Moment.now()
            infer_s += (inferred_s - begin.wall_s) / 2
            step_s += (end.wall_s - inferred_s) / (2 * length)
            cpu_s += (end.cpu_s - begin.cpu_s) / 2
    made = env.num_envs * length
    return Bound(made / (length * step_s + infer_s), step_s, infer_s, made / cpu_s)


def measure(
    cost: str, num_envs: int, chunk_length: int, arguments: Arguments
) -> list[dict[str, Any]]:
    """One setting: a line for each scheduler."""
    plain = make_env(num_envs, arguments)
    plain.reset(seed=0)
    _stagger(plain)
    policy = CalibratedPolicy(cost, chunk_length, plain.single_action_space.shape[0])
    contestants = [
        Contestant(name, policy, make_env(num_envs, arguments)) for name in arguments.schedulers
    ]
    for contestant in contestants:
        settle = arguments.settle_chunks if contestant.name == "Adaptive" else 1
        contestant.run_window(settle)
    limits = [bound(plain, policy)]
    for _ in range(arguments.rounds):
        for contestant in contestants:
            # One is enough where every step takes the same, and long.
            chunks = 1 if contestant.name == "AnyTrigger" else arguments.chunks
            rate, cpu_rate, share = contestant.run_window(chunks)
            limits.append(bound(plain, policy))
            around = Bound(*map(statistics.fmean, zip(*limits[-2:], strict=True)))
            contestant.rates.append(rate)
            contestant.ratios.append(rate / around.per_s)
            contestant.cpu_ratios.append(cpu_rate / around.per_cpu_s)
            contestant.shares.append(share)
    bound_per_s, step_s, infer_s, _ = map(statistics.median, zip(*limits, strict=True))
    lines = []
    for contestant in contestants:
        scheduler = contestant.runner.scheduler
        lines.append(
            {
                "benchmark": "chunk scheduling",
                "task": arguments.task,
                "level": arguments.level,
                "num_envs": num_envs,
                "chunk_length": chunk_length,
                "episode_steps": plain.max_episode_length,
                "cost": COSTS[cost],
                "step_ms": round(step_s * 1e3, 1),
                "infer_ms": round(infer_s * 1e3),
                "bound_per_s": round(bound_per_s),
                "scheduler": contestant.name,
                "env_steps_per_s": round(statistics.median(contestant.rates)),
                "of_bound": round(statistics.median(contestant.ratios), 3),
                "of_bound_cpu": _cpu_share(contestant) if cost == "matmul" else "",
                "waiting_percent": round(statistics.median(contestant.shares) * 100, 1),
                "choice": scheduler.explain() if isinstance(scheduler, Adaptive) else "",
                **machine(plain.device),
            }
        )
    for contestant in contestants:
        contestant.runner.close()
        contestant.runner.env.close()
    plain.close()
    return lines


def _cpu_share(contestant: Contestant) -> float | str:
    """Of the bound, in processor time; nothing where two threads compute at once."""
    stats = contestant.runner.stats()
    if stats.waited_s < 0.9 * stats.inference_s:
        return ""
    return round(statistics.median(contestant.cpu_ratios), 3)


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure every setting, and print a line for each scheduler."""
    torch.set_num_threads(1)
    lines = []
    for cost in arguments.costs:
        for num_envs in arguments.num_envs:
            for chunk_length in arguments.chunk_lengths:
                for line in measure(cost, num_envs, chunk_length, arguments):
                    print(json.dumps(line), flush=True)
                    lines.append(line)
    return lines


if __name__ == "__main__":
    main(tyro.cli(Arguments))
    sys.exit(0)
