"""How long one step of an exported policy takes, beside the env's own observe, decide and apply.

    python tests/benchmarks/export_latency.py --methods onnx-dynamo exported-program

What is compared computes the same in the same run, in turns: the live observation terms, network
and action terms in torch, and the exported model fed with the same quantities. Physics is not in
it. Prints one JSON line per measurement.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from holdstep.envs import make
from holdstep.policies import RslRlPolicy
from holdstep.wrappers.export import export_policy, load_model
from holdstep.wrappers.export.live_inputs import LiveInputs
from tests.benchmarks.measure import machine


@dataclass
class Arguments:
    """What to measure."""

    tasks: tuple[str, ...] = ("Mjlab-Velocity-Flat-Unitree-G1",)
    """mjlab tasks; the policy is the task's own network with random weights."""

    methods: tuple[str, ...] = ("onnx-dynamo", "exported-program", "jit-trace")
    """How models are written."""

    backend: str = "torch"
    """What writes them."""

    num_envs: tuple[int, ...] = (1, 64)
    """Rows."""

    blocks: int = 25
    """Blocks of each kind; the median over them counts."""

    steps: int = 40
    """Steps in a block."""


@torch.inference_mode()
def measure(task: str, num_envs: int, arguments: Arguments) -> list[dict[str, Any]]:
    """All measurements of one task."""
    env_id = f"mjlab:{task}"
    with contextlib.redirect_stdout(io.StringIO()):
        env = make(env_id, num_envs=max(num_envs, 2), device="cpu", seed=0)
        policy = RslRlPolicy.untrained(env, env_id=env_id)
        folder = Path(tempfile.mkdtemp())
        for method in arguments.methods:
            export_policy(
                env,
                policy,
                folder / method,
                backend=arguments.backend,  # type: ignore[arg-type]  # checked there
                method=method,
                num_steps=3,
            )
        env.close()
        # Without noise, which an exported model does not compute either.
        quiet = {"observations.actor.enable_corruption": False}
        env = make(env_id, num_envs=num_envs, device="cpu", seed=0, **quiet)
        policy = RslRlPolicy.untrained(env, env_id=env_id)
        env.reset()
    try:
        kinds = {"live torch pipeline": live_pipeline(env, policy)}
        for method in arguments.methods:
            kinds[f"{method}, inputs read from the env"] = deployed(env, folder / method)
            kinds[f"{method}, inputs at hand"] = deployed(env, folder / method, read=False)
        times = in_turns(kinds, arguments)
    finally:
        env.close()
    live_us = times["live torch pipeline"]
    return [
        {
            "benchmark": "export latency",
            "task": task,
            "num_envs": num_envs,
            "what": what,
            "step_us": round(us, 1),
            "ratio": round(us / live_us, 3),
            **machine(torch.device("cpu")),
        }
        for what, us in times.items()
    ]


def live_pipeline(env: Any, policy: RslRlPolicy) -> Callable[[], object]:
    """Observation terms, network, action terms, as the env runs them between physics steps."""
    backend = env.unwrapped.backend_env
    observations, actions = backend.observation_manager, backend.action_manager

    def step() -> None:
        obs = {"actor": observations.compute_group("actor", update_history=True)}
        actions.process_action(policy(obs))
        actions.apply_action()

    return step


def deployed(env: Any, folder: Path, *, read: bool = True) -> Callable[[], object]:
    """One step of the exported model, with or without reading what it needs."""
    runner = load_model(folder, num_rows=env.num_envs, allow_jit=True)
    inputs = LiveInputs(env, runner.contract.inputs)
    if read:
        return lambda: runner.step(inputs.read(copy=False))
    arrays = {name: value.numpy() for name, value in inputs.read().items()}
    return lambda: runner.step(arrays)


def in_turns(kinds: dict[str, Callable[[], object]], arguments: Arguments) -> dict[str, float]:
    """Median time of one step of each kind [µs]."""
    times: dict[str, list[float]] = {what: [] for what in kinds}
    for _ in range(arguments.blocks + 3):
        for what, step in kinds.items():
            begin = time.process_time()
            for _ in range(arguments.steps):
                step()
            times[what].append((time.process_time() - begin) / arguments.steps)
    return {what: 1e6 * statistics.median(values[3:]) for what, values in times.items()}


def lines_of(arguments: Arguments) -> Iterator[dict[str, Any]]:
    """All measurements."""
    for task in arguments.tasks:
        for num_envs in arguments.num_envs:
            yield from measure(task, num_envs, arguments)


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print."""
    torch.set_num_threads(1)
    lines = []
    for line in lines_of(arguments):
        print(json.dumps(line), flush=True)
        lines.append(line)
    return lines


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(tyro.cli(Arguments))
