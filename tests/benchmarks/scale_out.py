"""What a second rank is worth: env steps per second of training, evaluating and recording.

    python tests/benchmarks/scale_out.py
    python tests/benchmarks/scale_out.py --device cpu --task holdstep:CartPole --num-envs 256

Starts itself under ``torchrun``, with one rank and with two. Each rank has as many rows as one rank
alone, so twice the steps per second would be perfect. All three are done in one process group, and
what was trained is what is evaluated and recorded. Prints one JSON line per measurement.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from holdstep import evaluate
from holdstep.cli.evaluate import suspended
from holdstep.distributed import Rank, agreed, gathered, process_group
from holdstep.envs import RslRlVecEnv, TorchVectorEnv, make
from holdstep.policies.rsl_rl import RslRlPolicy, TrainingResult, TrainingSettings, train
from holdstep.wrappers import RecordEpisodes
from holdstep.wrappers.record.ranks import listing, rank_folder
from holdstep.wrappers.record.tools.validate import validate
from tests.benchmarks.measure import machine

ROOT = Path(__file__).parents[2]


@dataclass
class Arguments:
    """What to measure."""

    task: str = "mjlab:Mjlab-Cartpole-Balance"
    """Task."""

    num_envs: int = 4096
    """Rows of each rank."""

    device: str = "cuda"
    """`cuda`: each rank's own GPU, with NCCL; `cpu`: with gloo."""

    ranks: tuple[int, ...] = (1, 2)
    """Numbers of ranks to compare."""

    iterations: int = 40
    """Of training."""

    warm_up: int = 5
    """Of these, the first ones, which are not counted."""

    record_steps: int = 300
    """Steps that are recorded."""

    work: bool = False
    """This process is one of the ranks."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what simulators print away from the JSON lines."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def timed(work: Callable[[], int]) -> tuple[int, float]:
    """Steps that all ranks made, and the time of the slowest one, all beginning together."""
    gathered(None)
    begin_s = time.perf_counter()
    num_steps = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    answers = gathered((num_steps, time.perf_counter() - begin_s))
    return sum(steps for steps, _ in answers), max(seconds for _, seconds in answers)


def measure_training(arguments: Arguments, log_root: Path) -> tuple[TrainingResult, int, float]:
    """PPO with the task's own configuration."""
    settings = TrainingSettings(
        env_id=arguments.task,
        num_envs=arguments.num_envs,
        device=arguments.device,
        iterations=arguments.iterations,
        log_root=log_root,
    )
    with quiet():
        result = train(settings)
    counted = result.iterations[arguments.warm_up :]
    seconds = sum(iteration.collect_s + iteration.learn_s for iteration in counted)
    return result, sum(iteration.num_steps for iteration in counted), seconds


def measure_evaluation(env: TorchVectorEnv, policy: Any, rank: Rank) -> tuple[int, float]:
    """As many episodes as all ranks have rows."""
    gathered(None)
    result = evaluate(env, policy, env.num_envs * rank.world_size, rank=rank)
    assert result.is_complete
    return sum(episode.length for episode in result.episodes), result.wall_time_s


def measure_recording(
    env: TorchVectorEnv, policy: Any, rank: Rank, path: Path, num_steps: int
) -> tuple[int, float]:
    """Until every step is on disk, and readable, in each rank's folder."""
    folder = rank_folder(rank, path)
    recorder = RecordEpisodes(env, folder, max_queue_bytes=1 << 30)

    def work() -> int:
        obs, _ = recorder.reset(seed=rank.seed(0))
        policy.reset(None)
        for _ in range(num_steps):
            obs, _, terminated, truncated, _ = recorder.step(policy(obs))
            policy.reset(terminated | truncated)
        with listing(folder, path):
            recorder.close_extras()
        return recorder.stats().num_steps

    steps, seconds = timed(work)
    if rank.is_first:
        found = validate(path)
        assert not found.problems, found.problems[:3]
    return steps, seconds


def work(arguments: Arguments) -> None:
    """What each rank does; the first one prints."""
    torch.set_num_threads(1)
    rank = Rank.of_environment()
    backend = "gloo" if arguments.device == "cpu" else "nccl"
    with process_group(rank, backend=backend), contextlib.ExitStack() as stack:
        scratch = ""
        if rank.is_first:
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
        path = Path(agreed(scratch))
        result, *training = measure_training(arguments, path / "runs")
        found = {"train": tuple(training)}
        with quiet(), torch.inference_mode():
            env = make(
                arguments.task,
                num_envs=arguments.num_envs,
                device=rank.device(arguments.device),
                seed=rank.seed(0),
            )
            stack.callback(env.close)
            policy = RslRlPolicy.load(result.checkpoint, RslRlVecEnv(env), env_id=arguments.task)
            stack_of_env = suspended(env, "auto")
            found["evaluate"] = measure_evaluation(stack_of_env, policy, rank)
            found["record"] = measure_recording(
                env, policy, rank, path / "demos", arguments.record_steps
            )
        gathered(None)  # before the folder goes
    if rank.is_first:
        for what, (steps, seconds) in found.items():
            line = {"what": what, "steps": steps, "seconds": seconds, "backend": backend}
            print(json.dumps(line), flush=True)


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Start the ranks, and print what they found side by side."""
    about = machine(torch.device("cpu" if arguments.device == "cpu" else "cuda:0"))
    lines: list[dict[str, Any]] = []
    alone: dict[str, float] = {}
    for num_ranks in arguments.ranks:
        for found in _started(arguments, num_ranks):
            steps_per_s = found["steps"] / found["seconds"]
            alone.setdefault(found["what"], steps_per_s)
            line = {
                "benchmark": "scale-out",
                "what": found["what"],
                "task": arguments.task,
                "num_envs": arguments.num_envs,
                "ranks": num_ranks,
                "backend": found["backend"] if num_ranks > 1 else "",
                "steps_per_s": round(steps_per_s),
                "times": round(steps_per_s / alone[found["what"]], 2),
                **about,
            }
            print(json.dumps(line), flush=True)
            lines.append(line)
    return lines


def _started(arguments: Arguments, num_ranks: int) -> list[dict[str, Any]]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    given = {
        "--task": arguments.task,
        "--num-envs": arguments.num_envs,
        "--device": arguments.device,
        "--iterations": arguments.iterations,
        "--warm-up": arguments.warm_up,
        "--record-steps": arguments.record_steps,
    }
    options = [str(word) for option in given.items() for word in option]
    done = subprocess.run(
        [sys.executable, *launcher, __file__, "--work", *options],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([*_paths()])},
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _paths() -> Iterator[str]:
    yield str(ROOT)
    yield from filter(None, sys.path)


if __name__ == "__main__":
    given = tyro.cli(Arguments, config=(tyro.conf.FlagCreatePairsOff,))
    if given.work:
        work(given)
    else:
        main(given)
