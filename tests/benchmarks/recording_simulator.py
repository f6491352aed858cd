"""What recording adds to the steps of a simulator on a GPU, and where that goes.

    python tests/benchmarks/recording_simulator.py

Blocks of steps take turns: without the recorder, with it, and with it while its writer stands
still, which shows what the writer alone costs the loop. Steps of physics differ by more than a
recorder costs, so its own time is measured within steps as well: from when the simulator's work is
done, on the host and on the GPU, until the recorder's is. Of that, the host's part, what the
recorder launches in the loop's stream, and the rate of the copies to the host, which run beside it.
Prints one JSON line per task.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import tyro

from holdstep.envs import make
from holdstep.wrappers import RecordEpisodes
from tests.benchmarks.measure import machine
from tests.benchmarks.recording import paused

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv

G1, CARTPOLE = "Mjlab-Velocity-Flat-Unitree-G1", "Mjlab-Cartpole-Balance"


@dataclass
class Arguments:
    """What to measure."""

    device: str = "cuda:0"
    """GPU."""

    num_envs: int = 4096
    """Rows."""

    cases: tuple[str, ...] = ("G1 standing", "G1 falling", "Cartpole")
    """G1 standing: nothing but the time limit ends an episode, so that few rows end in a step; G1
    falling: as the task is, with zero actions, under which all rows fall again and again."""

    blocks: int = 40
    """Blocks of steps of each kind."""

    steps: int = 8
    """Steps of a block."""


@dataclass
class Spent:
    """What steps with the recorder took, beside the simulator's."""

    own_s: list[float] = field(default_factory=list)
    host_s: list[float] = field(default_factory=list)
    launched: list[tuple[Any, Any]] = field(default_factory=list)
    copied: list[tuple[Any, Any, int]] = field(default_factory=list)

    def device_us(self) -> float:
        """Median of the GPU's time for what a step launches in the loop's stream [us]."""
        times = [begin.elapsed_time(end) * 1e3 for begin, end in self.launched]
        return round(statistics.median(times), 1) if times else 0.0

    def gigabytes_per_s(self) -> float:
        """Rate of the copies to the host."""
        copy_s = sum(begin.elapsed_time(end) for begin, end, _ in self.copied) / 1e3
        return round(sum(size for *_, size in self.copied) / max(copy_s, 1e-9) / 1e9, 1)


def simulator(case: str, arguments: Arguments) -> TorchVectorEnv:
    """The env of a case."""
    options: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        if case == "G1 standing":
            from mjlab.tasks.registry import load_env_cfg

            cfg = load_env_cfg(G1)
            cfg.terminations = {
                name: term for name, term in cfg.terminations.items() if term.time_out
            }
            options["cfg"] = cfg
        task = CARTPOLE if case == "Cartpole" else G1
        size = {"num_envs": arguments.num_envs, "device": arguments.device}
        return make(f"mjlab:{task}", seed=0, **size, **options)


@contextlib.contextmanager
def watched(env: RecordEpisodes, spent: Spent, *, alone: bool) -> Iterator[None]:
    """Time the recorder's own work in steps.

    Args:
        env: the recorder.
        spent: what to add to.
        alone: whether the GPU's other work is waited for before, and the recorder's after: what it
            takes by itself, ``own_s``. Else the host's and the GPU's parts, as they are in a loop.
    """
    recording = env._recording
    assert recording is not None
    before, record = recording.before_step, env._record
    on_gpu = env.device.type == "cuda"

    def now_s() -> float:
        if alone and on_gpu:
            torch.cuda.current_stream(env.device).synchronize()
        return time.perf_counter()

    def timed_before() -> None:
        begin_s = now_s()
        before()
        (spent.own_s if alone else spent.host_s).append(now_s() - begin_s)

    def timed_record(*arguments: Any) -> None:
        with_events = on_gpu and not alone
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if with_events else []
        for event in events[:1]:
            event.record()
        begin_s = now_s()
        record(*arguments)
        (spent.own_s if alone else spent.host_s)[-1] += now_s() - begin_s
        for event in events[1:]:
            event.record()
            spent.launched.append((events[0], event))

    staging = recording._filler._staging
    send = staging.send

    def timed_send(index: int, filled: Any) -> None:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record(staging._stream)
        send(index, filled)
        end.record(staging._stream)
        spent.copied.append((begin, end, filled.num_bytes))

    recording.before_step, env._record = timed_before, timed_record  # type: ignore[method-assign]
    if on_gpu:
        staging.send = timed_send
    try:
        yield
    finally:
        del recording.before_step, env._record  # type: ignore[method-assign]
        if on_gpu:
            del staging.send


def measure(case: str, arguments: Arguments) -> dict[str, Any]:
    """One case."""
    adapter = simulator(case, arguments)
    times: dict[str, list[float]] = {"alone": [], "with": [], "writer paused": []}
    spent, num_ended = Spent(), 0
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        env = RecordEpisodes(adapter, Path(folder, "demos"), max_queue_bytes=4 << 30)
        env.reset(seed=0)
        actions = torch.zeros(env.num_envs, *env.single_action_space.shape, device=env.device)
        if case == "G1 standing":  # else all rows would reach their time limit in one step
            limit = adapter.max_episode_length or 1000
            adapter.episode_length_buf = torch.arange(env.num_envs, device=env.device) % limit
        for _ in range(10):
            env.step(actions)
        for block in range(arguments.blocks):
            kinds = list(times)
            for kind in kinds[block % 3 :] + kinds[: block % 3]:
                # Steps behind its back: it records its own as if nothing had been between them.
                stepped = env.env if kind == "alone" else env
                pause = paused(env, "process") if kind == "writer paused" else None
                with pause or contextlib.nullcontext():
                    synchronize(env.device)
                    begin_s = time.perf_counter()
                    for _ in range(arguments.steps):
                        *_, info = stepped.step(actions)
                    synchronize(env.device)
                    times[kind].append((time.perf_counter() - begin_s) / arguments.steps)
                num_ended += int(info["_final_obs"].sum()) if "_final_obs" in info else 0
        for alone in (False, True):
            with watched(env, spent, alone=alone):
                for _ in range(160):
                    env.step(actions)
                synchronize(env.device)
        stats = env.stats()
        env.close()
    return {
        "benchmark": "recording a simulator",
        "task": case,
        "num_envs": arguments.num_envs,
        "alone_ms": round(statistics.median(times["alone"]) * 1e3, 3),
        "with_ms": round(statistics.median(times["with"]) * 1e3, 3),
        "added_percent": added(times, "with"),
        "added_percent_writer_paused": added(times, "writer paused"),
        "own_us": round(statistics.mean(spent.own_s) * 1e6, 1),
        "own_percent": round(
            statistics.mean(spent.own_s) / statistics.median(times["alone"]) * 100, 2
        ),
        "ended_a_step": round(num_ended / (3 * arguments.blocks), 1),
        "host_us": round(statistics.median(spent.host_s) * 1e6, 1),
        "host_mean_us": round(statistics.mean(spent.host_s) * 1e6, 1),
        "device_us": spent.device_us(),
        "copies_gb_s": spent.gigabytes_per_s(),
        "blocked_s": round(stats.blocked_s, 3),
        "row_bytes": round(stats.num_bytes / max(stats.num_steps, 1)),
    }


def added(times: dict[str, list[float]], kind: str) -> float:
    """Median over rounds of what a kind of block takes longer [%]."""
    ratios = [with_s / alone_s for with_s, alone_s in zip(times[kind], times["alone"], strict=True)]
    return round((statistics.median(ratios) - 1) * 100, 2)


def synchronize(device: torch.device) -> None:
    """Wait for the GPU, if it is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print everything."""
    torch.set_num_threads(1)
    about = machine(torch.device(arguments.device))
    lines = []
    for case in arguments.cases:
        line = measure(case, arguments) | about
        print(json.dumps(line), flush=True)
        lines.append(line)
    return lines


if __name__ == "__main__":
    main(tyro.cli(Arguments))
