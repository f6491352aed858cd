"""What recording adds on a GPU: memory, waits, and time of a step of a real simulator.

    python tests/benchmarks/recording_gpu.py

Memory: what recording alone adds to the peak, in steps of ready-made tensors, for episodes of two
lengths, beside Isaac Lab's way, which keeps every step of an episode on the GPU. Waits: the steps
are made while torch raises an error at every wait for the GPU. Time: see recording_simulator.py.
Prints one JSON line per measurement.
"""

from __future__ import annotations

import gc
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import tyro

from holdstep.wrappers import RecordEpisodes, VectorWrapper
from tests.benchmarks import recording_simulator
from tests.benchmarks.measure import machine
from tests.benchmarks.recording import KEYS, FixedEnv, ListRecorder

if TYPE_CHECKING:
    from holdstep.envs.contract import StepResult


@dataclass
class Arguments:
    """What to measure."""

    device: str = "cuda:0"
    """GPU."""

    num_envs: int = 30
    """Rows of the memory's measurement: as in the report that Isaac Lab's asynchronous writer
    came with."""

    episode_steps: tuple[int, ...] = (300, 1200)
    """Lengths of the episodes."""


def peak_bytes(env: VectorWrapper, inner: FixedEnv, num_steps: int) -> int:
    """What the steps add to the GPU memory in use, at its peak [byte]."""
    env.reset()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(num_steps):
        env.step(inner.actions)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


class FreshEnv(FixedEnv):
    """Returns tensors in memory of their own in every step, as simulators do."""

    def step(self, actions: torch.Tensor) -> StepResult:
        """Copies."""
        obs, reward, terminated, truncated, info = super().step(actions)
        copied = {name: values.clone() for name, values in obs.items()}
        info["energy"] = self.energy.clone()
        return copied, reward.clone(), terminated, truncated, info


def measure_memory(arguments: Arguments) -> list[dict[str, Any]]:
    """Peak memory of recording images and numbers, by the length of episodes."""
    makers: dict[str, Callable[[FixedEnv, Path], VectorWrapper]] = {
        "nothing": lambda env, path: VectorWrapper(env),
        "holdstep": lambda env, path: RecordEpisodes(env, path / "demos", keys=KEYS),
        "as Isaac Lab 3.0": lambda env, path: ListRecorder(env, path / "demos.hdf5"),
    }
    lines = []
    for length in arguments.episode_steps:
        peaks = {}
        for what, maker in makers.items():
            inner = FreshEnv(
                arguments.num_envs,
                camera=True,
                episode_steps=length,
                step_s=2e-3,
                device=arguments.device,
            )
            # All rows end together, in the last step: the memory of Isaac Lab's way is largest.
            inner.ends_at.fill_(length - 1)
            with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
                env = maker(inner, Path(folder))
                staging = peak_bytes(env, inner, length)
                env.close()
            peaks[what] = staging
            del env, inner
        for what, peak in peaks.items():
            lines.append(
                {
                    "benchmark": "recording memory",
                    "what": what,
                    "num_envs": arguments.num_envs,
                    "episode_steps": length,
                    "peak_mb": round(peak / 1e6, 1),
                    "less_percent": round((1 - peak / peaks["as Isaac Lab 3.0"]) * 100, 1),
                }
            )
    return lines


def measure_waits(arguments: Arguments) -> list[dict[str, Any]]:
    """Steps in which any wait for the GPU is an error, except the env's own."""
    inner = FixedEnv(256, camera=True, episode_steps=10**9, step_s=0.0, device=arguments.device)
    inner.ends_at.fill_(-1)
    inner.step = _endless_step(inner)  # type: ignore[method-assign]
    num_steps = 200
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        env = RecordEpisodes(inner, Path(folder, "demos"), keys=KEYS, on_full="drop")
        env.reset()
        env.step(inner.actions)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(num_steps):
                env.step(inner.actions)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        env.close()
    return [{"benchmark": "recording waits", "num_envs": 256, "steps": num_steps, "waits": 0}]


def _endless_step(inner: FixedEnv) -> Callable[[torch.Tensor], Any]:
    def step(actions: torch.Tensor) -> Any:
        info: dict[str, Any] = {"active": inner._active, "energy": inner.energy}
        return dict(inner.obs), inner._reward, inner._never, inner._never, info

    return step


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print everything."""
    torch.set_num_threads(1)
    about = machine(torch.device(arguments.device))
    lines = []
    for measure in (measure_memory, measure_waits):
        for line in measure(arguments):
            line |= about
            print(json.dumps(line), flush=True)
            lines.append(line)
    return lines + recording_simulator.main(recording_simulator.Arguments(arguments.device))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
