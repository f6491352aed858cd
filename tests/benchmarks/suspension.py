"""What suspended rows cost, and what leaving them out of the physics saves.

    python tests/benchmarks/suspension.py --tasks Mjlab-Cartpole-Balance --num-envs 64 512

Steps with some rows suspended and steps with none take turns in short blocks, so that a machine's
other work hits both. Prints one JSON line per measurement.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import tyro

from holdstep.envs import make
from holdstep.envs.device import canonical_device
from holdstep.wrappers.suspend import SuspendOnWait
from tests.benchmarks.measure import machine, overhead_s, timed_inside


@dataclass
class Arguments:
    """What to measure."""

    tasks: tuple[str, ...] = ("Mjlab-Cartpole-Balance",)
    """mjlab tasks."""

    num_envs: tuple[int, ...] = (64,)
    """Rows."""

    device: str = "cpu"
    """Device."""

    level: str = "exact"
    """Freeze level."""

    rng: str = "global"
    """Whose random numbers rows draw."""

    percents: tuple[int, ...] = (10, 50, 90)
    """Shares of the rows that are suspended [%]."""

    blocks: int = 30
    """Pairs of blocks; the median over them counts."""

    steps: int = 5
    """Steps in a block."""


def _env(task: str, num_envs: int, arguments: Arguments) -> SuspendOnWait:
    """An env whose rows end one after the other."""
    device = canonical_device(arguments.device)
    with contextlib.redirect_stdout(io.StringIO()):
        adapter = make(f"mjlab:{task}", num_envs=num_envs, device=device, seed=0)
    adapter.final_obs_enabled = False
    level: Any = arguments.level
    rng: Any = arguments.rng
    env = SuspendOnWait(adapter, level=level, rng=rng)
    env.reset()
    limit = env.max_episode_length or 1000
    env.episode_length_buf = torch.arange(num_envs, device=device) % limit
    actions = torch.zeros(env.action_space.shape, device=device)
    for _ in range(10):
        env.step(actions)
    return env


@torch.inference_mode()  # as rsl_rl steps
def measure_idle(task: str, num_envs: int, arguments: Arguments) -> dict[str, Any]:
    """What the wrapper adds to a step while no row is suspended."""
    env = _env(task, num_envs, arguments)
    actions = torch.zeros(env.action_space.shape, device=env.device)
    with timed_inside(env, "env") as spent:
        outside, inside = overhead_s(
            lambda: env.step(actions), spent, blocks=arguments.blocks, steps=arguments.steps
        )
    env.close()
    return {
        "benchmark": "suspension",
        "task": task,
        "num_envs": num_envs,
        "level": arguments.level,
        "rng": arguments.rng,
        "suspended_percent": 0,
        "plain_ms": round(inside * 1e3, 3),
        "added_us": round(outside * 1e6, 1),
        "added_percent": round(outside / inside * 100, 3),
        **machine(env.device),
    }


@torch.inference_mode()
def measure_rng(task: str, num_envs: int, arguments: Arguments) -> dict[str, Any]:
    """What ``rng="per_env"`` costs in all, draws and hooks, while no row is suspended."""
    env = _env(task, num_envs, arguments)
    adapter, device = env.unwrapped, env.device
    actions = torch.zeros(env.action_space.shape, device=device)
    del env  # lets go of the adapter
    bare, per_env = [], []
    for turn in range(arguments.blocks + 1):
        bare.append(_seconds_per_step(adapter, actions, arguments.steps))
        wrapped = SuspendOnWait(adapter, rng="per_env")
        wrapped.step(actions)
        per_env.append(_seconds_per_step(wrapped, actions, arguments.steps))
        del wrapped
        if turn == 0:  # kernels are compiled
            bare, per_env = [], []
    adapter.close()
    ratios = [after / before for before, after in zip(bare, per_env, strict=True)]
    added = [after - before for before, after in zip(bare, per_env, strict=True)]
    return {
        "benchmark": "suspension",
        "task": task,
        "num_envs": num_envs,
        "level": "exact",
        "rng": "per_env, against the bare adapter",
        "suspended_percent": 0,
        "plain_ms": round(statistics.median(bare) * 1e3, 3),
        "ratio": round(statistics.median(ratios), 4),
        "added_us": round(statistics.median(added) * 1e6, 1),
        "added_percent": round(statistics.median(ratios) * 100 - 100, 2),
        **machine(device),
    }


def _seconds_per_step(env: Any, actions: torch.Tensor, steps: int) -> float:
    _synchronize(env.device)
    start = time.perf_counter()
    for _ in range(steps):
        env.step(actions)
    _synchronize(env.device)
    return (time.perf_counter() - start) / steps


@torch.inference_mode()
def measure(task: str, num_envs: int, arguments: Arguments) -> list[dict[str, Any]]:
    """All measurements of one task at one number of rows."""
    env = _env(task, num_envs, arguments)
    device = env.device
    actions = torch.zeros(env.action_space.shape, device=device)

    def block() -> float:
        return _seconds_per_step(env, actions, arguments.steps)

    lines = []
    for percent in arguments.percents:
        ids = torch.randperm(num_envs)[: max(1, num_envs * percent // 100)]
        own = OwnTime(env)
        plain, held, switching, spent, base = [], [], [], [], []
        for turn in range(arguments.blocks + 1):
            with own.below_hooks(), own.measured():
                plain.append(block())
            base.append(own.seconds / arguments.steps)
            with own.below_hooks():
                start = time.perf_counter()
                env.suspend(ids)
                suspended = time.perf_counter() - start
                env.step(actions)  # whatever happens only in the first step
                with own.measured():
                    held.append(block())
                spent.append(own.seconds / arguments.steps)
                start = time.perf_counter()
                env.resume(ids)
                switching.append(suspended + time.perf_counter() - start)
            if turn == 0:  # kernels are compiled and buffers made
                plain, held, switching, spent, base = [], [], [], [], []
        added = statistics.median(spent) - statistics.median(base)
        ratios = [after / before for before, after in zip(plain, held, strict=True)]
        lines.append(
            {
                "benchmark": "suspension",
                "task": task,
                "num_envs": num_envs,
                "level": arguments.level,
                "rng": arguments.rng,
                "suspended_percent": percent,
                "plain_ms": round(statistics.median(plain) * 1e3, 3),
                "suspended_ms": round(statistics.median(held) * 1e3, 3),
                "ratio": round(statistics.median(ratios), 4),
                "added_us": round(added * 1e6, 1),
                "added_percent": round(added / statistics.median(plain) * 100, 2),
                "suspend_resume_us": round(statistics.median(switching) * 1e6, 1),
                **machine(device),
            }
        )
    env.close()
    return lines


class OwnTime:
    """Host time that holdstep itself spends in steps: around the simulator's step and in hooks.

    Hooks run inside the simulator's step and call what they were put over. So what they are put
    over is timed with a minus before they are there, and they with a plus while they are.
    """

    def __init__(self, env: Any) -> None:
        adapter = env.unwrapped
        backend = adapter.backend_env
        self._env = env
        self._hooked = [(backend.termination_manager, "compute"), (backend.sim, "forward")]
        self._simulator = (adapter._env, "step")
        self._counting = False
        self.seconds = 0.0

    @contextlib.contextmanager
    def below_hooks(self) -> Iterator[None]:
        """Enter before rows are suspended, leave after they are resumed."""
        with contextlib.ExitStack() as stack:
            for owner, name in self._hooked:
                stack.enter_context(self._timed(owner, name, -1.0))
            yield

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Count the steps inside."""
        self.seconds = 0.0
        with contextlib.ExitStack() as stack:
            for owner, name in self._hooked:
                stack.enter_context(self._timed(owner, name, 1.0))
            stack.enter_context(self._timed(*self._simulator, -1.0))
            stack.enter_context(self._timed(self._env, "step", 1.0))
            self._counting = True
            try:
                yield
            finally:
                self._counting = False

    @contextlib.contextmanager
    def _timed(self, owner: Any, name: str, sign: float) -> Iterator[None]:
        before = vars(owner).get(name)
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                if self._counting:
                    self.seconds += sign * (time.perf_counter() - start)

        setattr(owner, name, timed)
        try:
            yield
        finally:
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print everything."""
    lines = []
    for task in arguments.tasks:
        for num_envs in arguments.num_envs:
            idle = measure_idle(task, num_envs, arguments)
            per_env = measure_rng(task, num_envs, arguments)
            for line in (idle, per_env, *measure(task, num_envs, arguments)):
                print(json.dumps(line), flush=True)
                lines.append(line)
    return lines


if __name__ == "__main__":
    main(tyro.cli(Arguments))
    sys.stdout.flush()
