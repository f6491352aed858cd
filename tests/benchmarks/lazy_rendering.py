"""What a step costs when images are drawn only at the ticks at which somebody looks.

    python tests/benchmarks/lazy_rendering.py --task Mjlab-Lift-Cube-Yam-Rgb --num-envs 16 64

Three ways take turns in short blocks on one env: images drawn at each tick (eager); drawn on
request and looked at at each tick; drawn on request and looked at every ``--every`` ticks, as a
policy of action chunks does. Prints one JSON line per measurement.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
import tyro

from holdstep.envs import make
from holdstep.envs.device import canonical_device
from tests.benchmarks.measure import machine


@dataclass
class Arguments:
    """What to measure."""

    task: str = "Mjlab-Lift-Cube-Yam-Rgb"
    """An mjlab task with a camera."""

    num_envs: tuple[int, ...] = (16, 64)
    """Rows."""

    size: int = 0
    """Width and height of its images [pixels]; 0 for the task's own."""

    device: str = "cpu"
    """Device."""

    every: int = 16
    """Ticks from one look to the next."""

    blocks: int = 10
    """Blocks of each way; the median over them counts."""


@torch.inference_mode()  # as rsl_rl steps
def measure(num_envs: int, arguments: Arguments) -> dict[str, Any]:
    """One env, stepped in the three ways in turn."""
    env = _env(num_envs, arguments)
    actions = torch.zeros(env.action_space.shape, device=env.device)
    every = arguments.every
    ways = {"eager": (False, 1), "lazy_each": (True, 1), "lazy": (True, every), "none": (True, 0)}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for block in range(arguments.blocks + 1):
        for name, (is_lazy, look_every) in ways.items():
            env.lazy_rendering = is_lazy
            env.step(actions)
            seconds = _seconds_per_step(env, actions, every, look_every)
            if block:  # kernels are compiled in the first
                spent[name].append(seconds)
    env.close()
    ms = {name: statistics.median(values) * 1e3 for name, values in spent.items()}
    images = {n: list(env.single_observation_space[n].shape) for n in env.image_obs}
    return {
        "benchmark": "lazy_rendering",
        "task": arguments.task,
        "num_envs": num_envs,
        "images": images,
        "looked_at_every": every,
        "eager_ms": round(ms["eager"], 3),
        "lazy_looked_at_each_tick_ms": round(ms["lazy_each"], 3),
        "lazy_ms": round(ms["lazy"], 3),
        "lazy_never_looked_at_ms": round(ms["none"], 3),
        "ratio": _ratio(spent, "lazy"),
        "ratio_looked_at_each_tick": _ratio(spent, "lazy_each"),
        "eager_env_steps_per_s": round(num_envs / ms["eager"] * 1e3),
        "lazy_env_steps_per_s": round(num_envs / ms["lazy"] * 1e3),
        **machine(env.device),
    }


def _env(num_envs: int, arguments: Arguments) -> Any:
    device = canonical_device(arguments.device)
    overrides = {}
    if arguments.size:
        from holdstep.envs.adapters.mjlab import task_registry

        cfg = task_registry().load_env_cfg(arguments.task)
        for sensor in cfg.scene.sensors:
            if hasattr(sensor, "enabled_geom_groups"):  # a camera
                sensor.width = sensor.height = arguments.size
        overrides["cfg"] = cfg
    with contextlib.redirect_stdout(io.StringIO()):
        env = make(f"mjlab:{arguments.task}", num_envs=num_envs, device=device, seed=0, **overrides)
        env.final_obs_enabled = False
        env.reset()
    return env


def _seconds_per_step(env: Any, actions: torch.Tensor, steps: int, look_every: int) -> float:
    _synchronize(env.device)
    start = time.perf_counter()
    for step in range(1, steps + 1):
        obs, *_ = env.step(actions)
        if look_every and step % look_every == 0:
            for name in env.image_obs:
                obs[name]
    _synchronize(env.device)
    return (time.perf_counter() - start) / steps


def _ratio(spent: dict[str, list[float]], name: str) -> float:
    """Time of a step over that of an eager one, within the same turn."""
    pairs = zip(spent[name], spent["eager"], strict=True)
    return round(statistics.median(lazy / eager for lazy, eager in pairs), 4)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Print one line of JSON per measurement, and return them."""
    lines = []
    for num_envs in arguments.num_envs:
        lines.append(measure(num_envs, arguments))
        print(json.dumps(lines[-1]), flush=True)
    return lines


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
    sys.exit(0)
