"""What the adapter, the wrappers and the rsl_rl view add to a simulator's own step.

    python tests/benchmarks/overhead.py --tasks Mjlab-Cartpole-Balance --num-envs 64

Prints one JSON line per measurement.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import tyro

from holdstep.envs import RslRlVecEnv, make
from holdstep.envs.device import canonical_device
from holdstep.wrappers import (
    ActionChunkReplay,
    PipelinedActions,
    RecordEpisodes,
    SuspendOnWait,
    VectorWrapper,
)
from holdstep.wrappers.pipeline import FunctionSource
from tests.benchmarks.measure import machine, overhead_s, syncs_refused, timed_inside

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv


@dataclass
class Arguments:
    """What to measure."""

    tasks: tuple[str, ...] = ("Mjlab-Cartpole-Balance",)
    """mjlab tasks."""

    num_envs: int = 64
    """Rows."""

    device: str = "cpu"
    """Device."""

    blocks: int = 9
    """Blocks of steps; the median over them counts."""

    steps: int = 40
    """Steps in a block."""


@torch.inference_mode()  # as rsl_rl steps
def measure_task(task: str, arguments: Arguments) -> list[dict[str, Any]]:
    """All measurements of one task."""
    device = canonical_device(arguments.device)
    with contextlib.redirect_stdout(io.StringIO()):
        env = make(f"mjlab:{task}", num_envs=arguments.num_envs, device=device, seed=0)
        env.reset()
    actions = torch.zeros(env.action_space.shape, device=device)
    # Rows end one after the other, so that steps with and without a reset are both measured.
    limit = env.max_episode_length
    stagger = torch.arange(arguments.num_envs, device=device) % limit
    lines: list[dict[str, Any]] = []

    def measured(what: str, step: Any, **extra: Any) -> None:
        env.episode_length_buf = stagger.clone()
        with timed_inside(env, "_env") as spent:
            for _ in range(5):
                step()
            outside, inside = overhead_s(
                step, spent, blocks=arguments.blocks, steps=arguments.steps
            )
        lines.append(
            {
                "benchmark": "step overhead",
                "what": what,
                "task": task,
                "num_envs": arguments.num_envs,
                "simulator_ms": round(inside * 1e3, 4),
                "overhead_us": round(outside * 1e6, 1),
                "overhead_percent": round(outside / inside * 100, 3),
                **extra,
                **machine(device),
            }
        )

    env.final_obs_enabled = False
    measured("adapter", lambda: env.step(actions))
    stack = VectorWrapper(VectorWrapper(env))
    measured("adapter + 2 base wrappers", lambda: stack.step(actions))
    with contextlib.redirect_stdout(io.StringIO()):
        view = RslRlVecEnv(stack)
    measured("adapter + 2 base wrappers + rsl_rl view", lambda: view.step(actions))
    if device.type == "cuda":
        lines.append(_syncs(env, view, actions, task, arguments, device))
        env.final_obs_enabled = False
    lines.append(_final_obs_cost(env, actions, task, arguments, device))
    with tempfile.TemporaryDirectory() as folder:
        idle = idle_stack(env, Path(folder) / "idle")
        measured("adapter, suspension, recorder, all idle", lambda: idle.step(actions))
        source = FunctionSource(lambda: actions, uses_obs=False)
        piped = PipelinedActions(idle, source, mode="sync")
        piped.reset()
        measured("the same + pipelined actions", lambda: piped.step(None))
        piped.close_extras()
        with contextlib.redirect_stdout(io.StringIO()):
            full = RslRlVecEnv(ActionChunkReplay(idle, chunk_length=1))
        measured("full stack: the same + action chunks + rsl_rl view", lambda: full.step(actions))
        idle.close_extras()
        idle.env.close_extras()
    env.close()
    return lines


def idle_stack(env: TorchVectorEnv, path: Path) -> RecordEpisodes:
    """A stack that could suspend and record: nothing is suspended, and all is recorded already."""
    recorder = RecordEpisodes(SuspendOnWait(env), path, max_episodes=1)
    recorder.reset()
    assert env.max_episode_length is not None
    while not recorder.finished:
        recorder.episode_length_buf = torch.full_like(
            recorder.episode_length_buf, env.max_episode_length - 1
        )
        recorder.step(torch.zeros(env.action_space.shape, device=env.device))
        recorder.flush()
    return recorder


def _final_obs_cost(
    env: Any, actions: torch.Tensor, task: str, arguments: Arguments, device: torch.device
) -> dict[str, Any]:
    """Steps in which one row ends, with final observations and without, in turns."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * arguments.blocks * 4):
        enabled = turn % 2 == 0
        env.final_obs_enabled = enabled
        clock = torch.zeros_like(env.episode_length_buf)
        clock[0] = env.max_episode_length
        env.episode_length_buf = clock
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        env.step(actions)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times[enabled].append(time.perf_counter() - start)
    env.final_obs_enabled = False
    medians = {enabled: sorted(values)[len(values) // 2] for enabled, values in times.items()}
    return {
        "benchmark": "final observations",
        "what": "a step in which a row ends",
        "task": task,
        "num_envs": arguments.num_envs,
        "without_ms": round(medians[False] * 1e3, 3),
        "with_ms": round(medians[True] * 1e3, 3),
        "ratio": round(medians[True] / medians[False], 3),
        **machine(device),
    }


def _syncs(
    env: Any,
    view: Any,
    actions: torch.Tensor,
    task: str,
    arguments: Arguments,
    device: torch.device,
) -> dict[str, Any]:
    """Steps in which any wait for the GPU outside mjlab's own step would raise."""
    steps = 100
    with syncs_refused(env, "_env"):
        for _ in range(steps):
            view.step(actions)
    env.final_obs_enabled = True
    with syncs_refused(env, "_env"):
        for _ in range(steps):
            env.step(actions)
    return {
        "benchmark": "host syncs",
        "what": "outside the simulator's own step",
        "task": task,
        "num_envs": arguments.num_envs,
        "steps": 2 * steps,
        "syncs": 0,
        **machine(device),
    }


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print all tasks."""
    lines = []
    for task in arguments.tasks:
        for line in measure_task(task, arguments):
            print(json.dumps(line), flush=True)
            lines.append(line)
    return lines


if __name__ == "__main__":
    main(tyro.cli(Arguments))
    sys.stdout.flush()
