"""What recording adds to a step of an env that computes, and of one that waits.

    python tests/benchmarks/recording_loop.py

After a step that computes, caches hold something of its own; after one that waits for another
machine, nothing that is any use, so that whatever comes next is slow, be it a recorder or not. A
simulator's step is of the first kind. Steps without the recorder, with it, and with Isaac Lab's way
to record take turns in one run. Prints one JSON line per measurement.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import tyro

from holdstep.envs import make
from tests.benchmarks import recording
from tests.benchmarks.measure import machine

if TYPE_CHECKING:
    from holdstep.envs.contract import StepResult

Load = Literal["simulates", "sleeps"]


@dataclass
class Arguments:
    """What to measure."""

    num_envs: tuple[int, ...] = (30, 256)
    """Rows."""

    step_ms: float = 20.0
    """A step of the env that sleeps, and what percentages are of."""

    task: str = "mjlab:Mjlab-Cartpole-Balance"
    """What the other env simulates."""

    blocks: int = 30
    """Blocks of steps without the recorder, with it, and with Isaac Lab's way, each."""

    steps: int = 10
    """Steps of a block."""

    max_queue_mb: int = 512
    """Memory for steps that are not written [MiB]."""


class LoadedEnv(recording.FixedEnv):
    """Returns tensors in memory of their own in every step, after it has simulated or slept.

    Args:
        num_envs: rows.
        load: what a step does.
        ends: whether a row ends in nearly every step.
        arguments: of the benchmark.
    """

    def __init__(self, num_envs: int, *, load: Load, ends: bool, arguments: Arguments) -> None:
        super().__init__(num_envs, camera=False, episode_steps=300, step_s=arguments.step_ms / 1e3)
        if not ends:
            self.ends_at.fill_(-1)
        self.simulator: Any = None
        if load == "simulates":
            with contextlib.redirect_stdout(io.StringIO()):
                self.simulator = make(arguments.task, num_envs=num_envs, device="cpu", seed=0)
                self.simulator.reset(seed=0)
                shape = self.simulator.single_action_space.shape
                self.simulated_actions = torch.zeros(num_envs, *shape)
                self.simulator.step(self.simulated_actions)  # which compiles

    def step(self, actions: torch.Tensor) -> StepResult:
        """Work or wait, and only then make what is returned."""
        begin_s = time.perf_counter()
        inside_s = self.inside_s
        if self.simulator is not None:
            self.simulator.step(self.simulated_actions)
        else:
            time.sleep(self.step_s)
        _, reward, terminated, truncated, info = super().step(actions)
        result = self.fresh(), reward.clone(), terminated.clone(), truncated, info
        info["energy"] = self.energy.clone()
        if "final_obs" in info:
            info["final_obs"] = self.fresh()
        self.inside_s = inside_s + time.perf_counter() - begin_s
        return result

    def fresh(self) -> dict[str, torch.Tensor]:
        """Observations in memory of their own."""
        return {name: values.clone() for name, values in self.obs.items()}

    def wait(self, begin_s: float) -> None:
        """It has done so before."""

    def close(self, **kwargs: Any) -> None:
        """Close the simulator, too."""
        if self.simulator is not None:
            self.simulator.close()
        super().close(**kwargs)


def measure(num_envs: int, load: Load, arguments: Arguments, *, ends: bool) -> dict[str, Any]:
    """Time outside the env's own step, and of whole blocks of steps, with and without recording."""
    inner = LoadedEnv(num_envs, load=load, ends=ends, arguments=arguments)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        options = recording.Arguments(max_queue_mb=arguments.max_queue_mb)
        ways = {
            "alone": recording.VectorWrapper(inner),
            "recorder": recording.recorder(inner, Path(folder, "demos"), options),
            "lists": recording.ListRecorder(inner, Path(folder, "demos.hdf5")),
        }
        outside: dict[str, list[float]] = {way: [] for way in ways}
        blocks: dict[str, list[float]] = {way: [] for way in ways}
        ways["recorder"].reset()
        ways["recorder"].step(inner.actions)
        for block in range(arguments.blocks):
            # Whichever comes next finds the machine as the one before left it.
            turns = list(ways)[:: 1 if block % 2 else -1]
            for way in turns[block % 3 :] + turns[: block % 3]:
                env = ways[way]
                block_begin_s = time.perf_counter()
                for _ in range(arguments.steps):
                    inner.inside_s, begin_s = 0.0, time.perf_counter()
                    env.step(inner.actions)
                    outside[way].append(time.perf_counter() - begin_s - inner.inside_s)
                blocks[way].append((time.perf_counter() - block_begin_s) / arguments.steps)
        ways["lists"].close_extras()
        ways["recorder"].close()
    added_s = [
        with_s - alone_s
        for with_s, alone_s in zip(blocks["recorder"], blocks["alone"], strict=True)
    ]
    median_s = statistics.median(outside["recorder"]) - statistics.median(outside["alone"])
    mean_s = statistics.mean(outside["recorder"]) - statistics.mean(outside["alone"])
    lists_s = statistics.mean(outside["lists"]) - statistics.mean(outside["alone"])
    return {
        "benchmark": "recording under load",
        "num_envs": num_envs,
        "load": load,
        "ends": ends,
        "env_ms": round(statistics.median(blocks["alone"]) * 1e3, 2),
        "added_us": round(median_s * 1e6, 1),
        "mean_us": round(mean_s * 1e6, 1),
        "percent_of_step": round(median_s / (arguments.step_ms / 1e3) * 100, 2),
        "paired_us": round(statistics.median(added_s) * 1e6, 1),
        "lists_us": round(lists_s * 1e6, 1),
        "times_less": round(lists_s / mean_s, 1),
    }


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print everything."""
    torch.set_num_threads(1)
    about = machine(torch.device("cpu"))
    lines = []
    loads: tuple[Load, ...] = ("simulates", "sleeps")
    for num_envs in arguments.num_envs:
        for load in loads:
            for ends in (False, True):
                line = measure(num_envs, load, arguments, ends=ends) | about
                print(json.dumps(line), flush=True)
                lines.append(line)
    return lines


if __name__ == "__main__":
    main(tyro.cli(Arguments))
