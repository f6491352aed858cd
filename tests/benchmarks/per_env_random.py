"""What random numbers of each row's own cost in a simulator's step.

    python tests/benchmarks/per_env_random.py --task mjlab:Mjlab-Velocity-Flat-Unitree-G1

Steps with torch's one stream, with a stream per row, and (for comparison) with a TorchFunctionMode
that does nothing, take turns in one run: of the task as it is, and of the task with noise on every
observation term. Prints one JSON line for each way of drawing, and one for a single draw.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro
from torch.overrides import TorchFunctionMode

from holdstep.envs import make
from holdstep.envs.adapters.mjlab_random import MjlabRandomScopes
from holdstep.envs.device import canonical_device
from holdstep.envs.state.per_env_random import PerEnvRandom
from tests.benchmarks.measure import machine

Noise = Literal["the task's own", "everywhere"]


@dataclass
class Arguments:
    """What to measure."""

    task: str = "mjlab:Mjlab-Cartpole-Balance"
    """Id of an mjlab task."""

    num_envs: int = 64
    """Rows."""

    device: str = "cpu"
    """Device."""

    rounds: int = 300
    """How often each way takes its turn, for one step."""

    engine: Literal["warp", "torch"] = "warp"
    """What makes the numbers."""

    noise: Noise | Literal["both"] = "both"
    """Uniform noise on every observation term that has none, or the task as it is, or both."""


class _Nothing(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _env(arguments: Arguments, noise: Noise) -> Any:
    task = arguments.task.removeprefix("mjlab:")
    from holdstep.envs.adapters.mjlab import task_registry

    cfg = task_registry().load_env_cfg(task)
    if noise == "everywhere":
        from mjlab.utils.noise import UniformNoiseCfg

        for group in cfg.observations.values():
            group.enable_corruption = True
            for term in group.terms.values():
                term.noise = term.noise or UniformNoiseCfg(n_min=-0.01, n_max=0.01)
    with contextlib.redirect_stdout(io.StringIO()):
        env = make(
            f"mjlab:{task}",
            num_envs=arguments.num_envs,
            device=arguments.device,
            seed=0,
            cfg=cfg,
        )
        env.reset()
    return env


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print."""
    modes: tuple[Noise, ...] = ("the task's own", "everywhere")
    lines = []
    for noise in modes if arguments.noise == "both" else (arguments.noise,):
        lines += _measure_steps(arguments, noise)
    return lines + _measure_draws(arguments)


def _measure_steps(arguments: Arguments, noise: Noise) -> list[dict[str, Any]]:
    device = canonical_device(arguments.device)
    env = _env(arguments, noise)
    env.final_obs_enabled = False
    random = PerEnvRandom(arguments.num_envs, device, 0, engine=arguments.engine)
    scopes = MjlabRandomScopes(env.backend_env, random)
    env.episode_length_buf = (
        torch.arange(arguments.num_envs, device=device) * 7 % env.max_episode_length
    )
    actions = torch.zeros(env.action_space.shape, device=device)
    ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "torch's stream": contextlib.nullcontext,
        "a stream per row": random.active,
        "a TorchFunctionMode that does nothing": _Nothing,
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    num_draws = 0
    for turn in range(arguments.rounds + 10):
        before = random.num_draws
        # Every way follows every other one equally often.
        order = list(ways) if turn % 2 else list(ways)[::-1]
        for way in order:
            _synchronize(device)
            # On a CPU the time that this process had: other processes' would drown a per cent.
            clock = time.perf_counter if device.type == "cuda" else time.process_time
            start = clock()
            with ways[way]():
                env.step(actions)
            _synchronize(device)
            if turn >= 10:
                times[way].append(clock() - start)
        num_draws = max(num_draws, random.num_draws - before)
    scopes.remove()
    random.close()
    env.close()
    baseline = times["torch's stream"]
    lines = []
    for way, seconds in times.items():
        line = {
            "benchmark": "random numbers of each row's own",
            "what": way,
            "task": arguments.task.removeprefix("mjlab:"),
            "noise": noise,
            "num_envs": arguments.num_envs,
            "engine": arguments.engine,
            "step_ms": round(statistics.median(seconds) * 1e3, 4),
            "ratio": round(
                statistics.median(a / b for a, b in zip(seconds, baseline, strict=True)), 4
            ),
            "added_us": round(
                statistics.median(a - b for a, b in zip(seconds, baseline, strict=True)) * 1e6, 1
            ),
            "draws_in_a_step": round(random.num_draws / (arguments.rounds + 10), 1),
            "most_draws_in_a_step": num_draws,
            "unattributed": len(random.unattributed),
            **machine(device),
        }
        print(json.dumps(line), flush=True)
        lines.append(line)
    return lines


def _measure_draws(arguments: Arguments) -> list[dict[str, Any]]:
    """Time on the host of a single draw, which is what a draw costs where the GPU keeps up."""
    device = canonical_device(arguments.device)
    random = PerEnvRandom(arguments.num_envs, device, 0, engine=arguments.engine)
    noisy = torch.empty(arguments.num_envs, 3, device=device)
    env_ids = torch.arange(0, arguments.num_envs, 8, device=device)
    draws: dict[str, Callable[[], Any]] = {
        "rand_like, all rows": lambda: torch.rand_like(noisy),
        "rand, all rows": lambda: torch.rand(arguments.num_envs, 3, device=device),
        "uniform_, all rows": lambda: noisy.uniform_(0.0, 1.0),
        "rand, an eighth of the rows": lambda: torch.rand(len(env_ids), 3, device=device),
    }
    lines = []
    for name, draw in draws.items():
        torchs = _host_us(draw, device)
        with random.active(), random.rows(env_ids if "eighth" in name else None):
            per_row = _host_us(draw, device)
        line = {
            "benchmark": "a draw of each row's own",
            "what": name,
            "num_envs": arguments.num_envs,
            "engine": arguments.engine,
            "torchs_us": round(torchs, 2),
            "host_us": round(per_row, 2),
            **machine(device),
        }
        print(json.dumps(line), flush=True)
        lines.append(line)
    random.close()
    return lines


def _host_us(call: Callable[[], Any], device: torch.device) -> float:
    """Least of many short means: few enough calls in a row that a GPU's queue never fills."""
    means = []
    for _ in range(100):
        _synchronize(device)
        start = time.perf_counter()
        for _ in range(50):
            call()
        means.append((time.perf_counter() - start) / 50 * 1e6)
    return min(means)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
