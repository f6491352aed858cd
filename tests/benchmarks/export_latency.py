"""How long one step of an exported policy takes, beside the env's own observe, decide and apply.

    python tests/benchmarks/export_latency.py --methods onnx-dynamo exported-program

What is compared computes the same in the same run, in turns: the live observation terms, network
and action terms in torch; and a deployment in the same simulator, which reads what the exported
model needs, runs it and writes the targets. Physics is not in it. What the model alone takes, with
its inputs at hand, is measured too. Prints one JSON line per measurement.
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

from holdstep.envs import DeploymentEnv, MjlabHost, make
from holdstep.policies import RslRlPolicy
from holdstep.wrappers.export import export_policy
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
    with contextlib.ExitStack() as stack:
        stack.callback(env.close)
        kinds: dict[str, Callable[[], object]] = {"live torch pipeline": live_pipeline(env, policy)}
        for method in arguments.methods:
            deployment = stack.enter_context(deployed(task, num_envs, folder / method))
            kinds[f"{method}, deployed"] = deployment._decide
            kinds[f"{method}, inputs at hand"] = at_hand(deployment)
        times = in_turns(kinds, arguments)
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


def deployed(task: str, num_envs: int, folder: Path) -> DeploymentEnv:
    """The exported policy in a scene of its own."""
    with contextlib.redirect_stdout(io.StringIO()):
        host = MjlabHost(task, num_envs=num_envs)
    deployment = DeploymentEnv(host, folder, allow_jit=True)
    for spec in deployment.contract.inputs:
        role, _, name = spec.connection.partition(":")
        if role == "command":
            deployment.set_command(name, torch.zeros(spec.shape))
    deployment.reset()
    return deployment


def at_hand(deployment: DeploymentEnv) -> Callable[[], object]:
    """The model of a deployment, with inputs that are there already."""
    inputs = {name: read().clone() for name, read in deployment._readers.items()}
    return lambda: deployment._runner.step(inputs)


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
