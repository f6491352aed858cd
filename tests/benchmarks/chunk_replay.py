"""What playing chunks adds to the steps of the env inside.

    python tests/benchmarks/chunk_replay.py --env-ids holdstep:CartPole --num-envs 64 4096

Prints one JSON line per measurement.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import tyro

from holdstep.envs import make
from holdstep.envs.device import canonical_device
from holdstep.wrappers import ActionChunkReplay, Stage, SuspendOnWait, VectorWrapper
from tests.benchmarks.measure import machine

if TYPE_CHECKING:
    from holdstep.envs import TorchVectorEnv
    from holdstep.envs.contract import StepResult


@dataclass
class Arguments:
    """What to measure."""

    env_ids: tuple[str, ...] = ("holdstep:CartPole", "mjlab:Mjlab-Cartpole-Balance")
    """Envs whose episodes end only at their time limit within a chunk of zeros."""

    num_envs: tuple[int, ...] = (64,)
    """Rows."""

    chunk_length: int = 16
    """Actions per chunk."""

    gamma: float = 0.99
    """Discount."""

    device: str = "cpu"
    """Device."""

    blocks: int = 9
    """Chunks of each kind; the median over them counts."""


class Stopwatch(VectorWrapper):
    """Measures the time that the steps of the env inside take.

    On a CPU that is the time that the process computes, whatever else the machine does meanwhile.
    """

    stage = Stage.RECORD

    def __init__(self, env: TorchVectorEnv) -> None:
        super().__init__(env)
        self.inside_s = 0.0
        self.num_steps = 0

    def now(self) -> float:
        """Seconds, when all that was asked for is done."""
        if self.device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def step(self, actions: torch.Tensor) -> StepResult:
        """Step, and measure it."""
        start = self.now()
        result = self.env.step(actions)
        self.inside_s += self.now() - start
        self.num_steps += 1
        return result


@torch.inference_mode()  # as rsl_rl steps
def measure(env_id: str, num_envs: int, arguments: Arguments) -> list[dict[str, Any]]:
    """All measurements of one env."""
    device = canonical_device(arguments.device)
    length = arguments.chunk_length
    with contextlib.redirect_stdout(io.StringIO()):
        env = SuspendOnWait(make(env_id, num_envs=num_envs, device=device, seed=0))
        env.final_obs_enabled = False  # as the rsl_rl view does
        watch = Stopwatch(env)
        replay = ActionChunkReplay(watch, length, gamma=arguments.gamma)
        replay.reset()
    limit = env.max_episode_length or 0
    chunks = torch.zeros(replay.action_space.shape, device=device)
    rows = torch.arange(num_envs, device=device)
    clocks = {
        "no row ends": torch.zeros_like(rows),
        "all rows end together": torch.full_like(rows, limit - length // 2),
        # Each is held from then on, by a call of suspend() of its own.
        "a row ends in each tick": (limit - 1 - rows) * (rows < length - 1),
    }
    lines = []
    for what, clock in clocks.items():
        outside, inside = [], []
        warm_up = 1 + arguments.blocks // 5  # kernels are compiled and buffers made
        for block in range(warm_up + arguments.blocks):
            replay.reset()
            replay.episode_length_buf = clock
            watch.inside_s, watch.num_steps = 0.0, 0
            start = watch.now()
            replay.step(chunks)
            total_s = watch.now() - start
            if block >= warm_up:
                outside.append((total_s - watch.inside_s) / watch.num_steps)
                inside.append(watch.inside_s / watch.num_steps)
        ratios = [1 + added / own for added, own in zip(outside, inside, strict=True)]
        lines.append(
            {
                "benchmark": "chunks",
                "task": env_id,
                "num_envs": num_envs,
                "chunk_length": length,
                "what": what,
                "tick_us": round(statistics.median(inside) * 1e6, 1),
                "added_us": round(statistics.median(outside) * 1e6, 1),
                "ratio": round(statistics.median(ratios), 4),
                **machine(device),
            }
        )
    env.close()
    return lines


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print everything."""
    lines = []
    for env_id in arguments.env_ids:
        for num_envs in arguments.num_envs:
            for line in measure(env_id, num_envs, arguments):
                print(json.dumps(line), flush=True)
                lines.append(line)
    return lines


if __name__ == "__main__":
    main(tyro.cli(Arguments))
    sys.stdout.flush()
