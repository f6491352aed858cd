"""What recording adds to a loop, beside the way Isaac Lab records and beside copying the bytes.

    python tests/benchmarks/recording.py --num-envs 256

Prints one JSON line per measurement.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import torch
import tyro

from holdstep.envs import TorchVectorEnv, make
from holdstep.wrappers import RecordEpisodes, VectorWrapper
from holdstep.wrappers.record import writer_config
from holdstep.wrappers.record.store import EpisodeStore
from tests.benchmarks.measure import machine

if TYPE_CHECKING:
    from holdstep.envs.contract import StepResult

WIDTHS = {"policy": 64, "critic": 96, "joint_pos": 29, "joint_vel": 29, "root": 13, "target": 7,
          "contact": 18, "gravity": 3, "command": 4, "history": 36}  # fmt: skip
"""Of the observation groups; with actions (29), processed actions (1) and rewards, 330 float32."""
NUM_FLOATS = 330
CAMERA = (128, 128, 3)


@dataclass
class Arguments:
    """What to measure."""

    num_envs: tuple[int, ...] = (30, 256)
    """Rows."""

    step_ms: float = 20.0
    """What the env's own step takes, in which it waits for something else than this processor."""

    episode_steps: int = 300
    """Length of the episodes, which end one after the other."""

    steps: int = 300
    """Steps of each loop."""

    max_queue_mb: int = 512
    """Memory for steps that are not written [MiB]."""

    camera: bool = True
    """Measure with an image per row, too."""


class FixedEnv(VectorWrapper):
    """Returns the same tensors in every step, and ends rows one after the other.

    13 float32 keys in all: ten groups of observations, actions, an info entry and the reward.

    Args:
        num_envs: rows.
        camera: whether there is an image, too.
        episode_steps: length of the episodes.
        step_s: what a step takes [s].
        device: where the tensors are.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        camera: bool,
        episode_steps: int,
        step_s: float,
        device: str = "cpu",
    ) -> None:
        super().__init__(make("holdstep:CartPole", num_envs=num_envs, device=device, seed=0))
        obs = {name: torch.randn(num_envs, width, device=device) for name, width in WIDTHS.items()}
        if camera:
            size = (num_envs, *CAMERA)
            obs["camera"] = torch.randint(0, 256, size, dtype=torch.uint8, device=device)
        self.obs = obs
        self.energy = torch.randn(num_envs, 1, device=device)
        self.actions = torch.randn(num_envs, 29, device=device)
        self.single_action_space = _box(29)
        self.episode_steps = episode_steps
        self.step_s = step_s
        self.inside_s = 0.0
        self.num_steps = 0
        self._never = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self._active = torch.ones(num_envs, dtype=torch.bool, device=device)
        self._reward = torch.randn(num_envs, device=device)
        self.ends_at = torch.arange(num_envs, device=device) % episode_steps

    def reset(self, **kwargs: Any) -> Any:
        """First observations."""
        return dict(self.obs), {}

    def step(self, actions: torch.Tensor) -> StepResult:
        """Take a while."""
        begin_s = time.perf_counter()
        info: dict[str, Any] = {"active": self._active, "energy": self.energy}
        terminated = self._never
        ends = self.ends_at == self.num_steps % self.episode_steps
        if ends.any():
            terminated = ends
            info["final_obs"], info["_final_obs"] = dict(self.obs), ends
        self.num_steps += 1
        result = (dict(self.obs), self._reward, terminated, self._never, info)
        self.wait(begin_s)
        self.inside_s += time.perf_counter() - begin_s
        return result

    def wait(self, begin_s: float) -> None:
        """Until the step is over."""
        left_s = self.step_s - (time.perf_counter() - begin_s)
        if left_s > 0:
            time.sleep(left_s)


class BusyEnv(FixedEnv):
    """Steps by running Python all the time."""

    def wait(self, begin_s: float) -> None:
        """A fixed amount of work."""
        total = 0
        for number in range(int(self.step_s * 2e7)):
            total += number & 7


def _box(width: int) -> Any:
    import gymnasium
    import numpy as np

    return gymnasium.spaces.Box(-1, 1, (width,), np.float32)


class ListRecorder(VectorWrapper):
    """Records as Isaac Lab 3.0 does, in a few lines of our own.

    A nested dictionary of lists for each row, to which each step appends a view of each key's row;
    when an episode ends, its lists are stacked and written to HDF5, a dataset per key, before the
    step returns. Without compression, which is its fastest setting.
    """

    def __init__(self, env: TorchVectorEnv, path: Path, *, compression: str | None = None) -> None:
        super().__init__(env)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = h5py.File(path, "w")
        self._data = self._file.create_group("data")
        self._compression = compression
        self._episodes: dict[int, dict[str, Any]] = {row: {} for row in range(env.num_envs)}
        self._num_written = 0

    def forget(self) -> None:
        """Drop what was appended."""
        self._episodes = {row: {} for row in range(self.num_envs)}

    def step(self, actions: torch.Tensor) -> StepResult:
        """Step, append, export."""
        result = self.env.step(actions)
        obs, reward, terminated, truncated, info = result
        self._add("actions", actions)
        self._add("rewards", reward)
        self._add("info/energy", info["energy"])
        self._add("obs", obs)
        for row in (terminated | truncated).nonzero().flatten().tolist():
            self._export(row)
        return result

    def _add(self, key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                self._add(f"{key}/{name}", inner)
            return
        for row, episode in self._episodes.items():
            *folders, leaf = key.split("/")
            place = episode
            for folder in folders:
                place = place.setdefault(folder, {})
            if leaf in place:
                place[leaf].append(value[row])
            else:
                place[leaf] = [value[row]]

    def _export(self, row: int) -> None:
        group = self._data.create_group(f"demo_{self._num_written}")
        self._num_written += 1
        episode, self._episodes[row] = self._episodes[row], {}
        self._write(group, episode)
        self._file.flush()

    def _write(self, group: Any, values: dict[str, Any]) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                self._write(group.create_group(key), value)
            else:
                stacked = torch.stack(value).cpu().numpy()
                options = {"compression_opts": 2} if self._compression else {}
                group.create_dataset(key, data=stacked, compression=self._compression, **options)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the file."""
        self._file.close()


KEYS = ["obs", "actions", "rewards", "info/energy"]


def recorder(
    env: TorchVectorEnv, path: Path, arguments: Arguments, **options: Any
) -> RecordEpisodes:
    """What is measured."""
    return RecordEpisodes(
        env, path, keys=KEYS, max_queue_bytes=arguments.max_queue_mb << 20, **options
    )


def run_loop(env: Any, inner: FixedEnv, num_steps: int) -> float:
    """Mean time outside the env's own step [s]."""
    env.reset()
    env.step(inner.actions)  # starts writers
    inner.inside_s = 0.0
    begin_s = time.perf_counter()
    for _ in range(num_steps):
        env.step(inner.actions)
    return (time.perf_counter() - begin_s - inner.inside_s) / num_steps


def measure_loop(num_envs: int, arguments: Arguments, *, camera: bool) -> list[dict[str, Any]]:
    """What is added to a step, with no recorder, with this one, and with Isaac Lab's way."""
    lines = []
    times: dict[str, float] = {}
    makers: dict[str, Callable[[FixedEnv, Path], Any]] = {
        "no recording": lambda env, path: VectorWrapper(env),
        "holdstep": lambda env, path: recorder(env, path / "demos", arguments),
        "as Isaac Lab 3.0, uncompressed": lambda env, path: ListRecorder(env, path / "demos.hdf5"),
    }
    for what, maker in makers.items():
        # Of images, no long episode of 256 rows fits into the memory of Isaac Lab's way.
        steps = max(20, arguments.steps // 5) if camera else arguments.steps
        inner = FixedEnv(
            num_envs,
            camera=camera,
            episode_steps=min(steps, arguments.episode_steps),
            step_s=arguments.step_ms / 1e3,  # for all of them: what follows a sleep is slower
        )
        with tempfile.TemporaryDirectory() as folder:
            env = maker(inner, Path(folder))
            with torch.inference_mode():
                times[what] = run_loop(env, inner, steps)
            env.close()
    base = times.pop("no recording")
    for what, seconds in times.items():
        lines.append(
            {
                "what": what,
                "num_envs": num_envs,
                "camera": camera,
                "added_us": round((seconds - base) * 1e6, 1),
                "percent_of_step": round((seconds - base) / (arguments.step_ms / 1e3) * 100, 3),
                "times_less": round(
                    (times["as Isaac Lab 3.0, uncompressed"] - base) / max(seconds - base, 1e-9), 1
                ),
            }
        )
    return lines


def measure_append(num_envs: int, arguments: Arguments, *, camera: bool) -> dict[str, Any]:
    """What a step costs in which no row ends, beside Isaac Lab's lists and beside one copy.

    Medians over steps, in processor time of the loop's thread: what others do is not in it.
    """
    inner = FixedEnv(num_envs, camera=camera, episode_steps=10**9, step_s=0.0)
    inner.ends_at.fill_(-1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        env = recorder(inner, Path(folder, "demos"), arguments)
        env.reset()
        env.step(inner.actions)
        assert env._recording is not None
        shape = env._recording._queue.ring.shape
        # One block: what a writer that keeps up has just released, as hot as what is copied to.
        length = shape.num_slots - 2
        ring = [torch.zeros(shape.slot_bytes, dtype=torch.uint8) for _ in range(length)]
        listing = ListRecorder(inner, Path(folder, "lists.hdf5"))
        times: dict[str, list[float]] = {"append": [], "copy": [], "lists": [], "step": []}
        for _ in range(15):
            env.flush()
            times["append"] += cpu_s(lambda: env.step(inner.actions), length)
            times["step"] += cpu_s(lambda: inner.step(inner.actions), length)
            times["copy"] += _copy_once(_sources(inner), ring)
            times["lists"] += cpu_s(lambda: listing.step(inner.actions), 4)
            listing.forget()
        env.close()
        listing.close_extras()
    medians = {what: statistics.median(values) for what, values in times.items()}
    append_s = medians["append"] - medians["step"]
    list_s = medians["lists"] - medians["step"]
    return {
        "what": "append",
        "num_envs": num_envs,
        "camera": camera,
        "megabytes": round(shape.slot_bytes / 1e6, 3),
        "added_us": round(append_s * 1e6, 1),
        "copy_us": round(medians["copy"] * 1e6, 1),
        "ratio_copy": round(append_s / medians["copy"], 2),
        "lists_us": round(list_s * 1e6, 1),
        "times_less": round(list_s / append_s, 1),
    }


def cpu_s(step: Callable[[], Any], num_steps: int) -> list[float]:
    """Processor time of this thread in each of some steps [s]."""
    times = []
    for _ in range(num_steps):
        begin_s = time.thread_time()
        step()
        times.append(time.thread_time() - begin_s)
    return times


def _sources(inner: FixedEnv) -> list[torch.Tensor]:
    values = [*inner.obs.values(), inner.actions, inner.energy]
    return [value.view(torch.uint8).flatten() for value in values]


def _copy_once(sources: list[torch.Tensor], ring: list[torch.Tensor]) -> list[float]:
    """Times to copy the tensors, one after the other, into memory that is there [s]."""
    times = []
    for memory in ring:
        places, begin = [], 0
        for source in sources:
            places.append(memory[begin : begin + source.numel()])
            begin += source.numel()
        begin_s = time.thread_time()
        for place, source in zip(places, sources, strict=True):
            place.copy_(source)
        times.append(time.thread_time() - begin_s)
    return times


_PAUSED = threading.Event()


class BurningStore(EpisodeStore):
    """Keeps a processor busy with Python for as long as the writer lives."""

    def commit(self, **kwargs: Any) -> None:
        """Commit, and burn a third of a second."""
        super().commit(**kwargs)
        until_s = time.monotonic() + 0.3
        while time.monotonic() < until_s:
            if _PAUSED.is_set():
                time.sleep(0.001)
            sum(range(100))


@contextlib.contextmanager
def paused(env: RecordEpisodes, writer: str) -> Iterator[None]:
    """The writer stands still."""
    if writer == "thread":
        _PAUSED.set()
        yield
        _PAUSED.clear()
        return
    pid = env._recording._queue._link._writer.pid  # type: ignore[union-attr]
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def burning_store() -> Iterator[None]:
    """Writers have such a store."""
    before = writer_config.STORE
    writer_config.STORE = f"{__name__ if __name__ != '__main__' else _MODULE}:BurningStore"
    try:
        yield
    finally:
        writer_config.STORE = before


_MODULE = "tests.benchmarks.recording"


def measure_saturated(arguments: Arguments, writer: str) -> dict[str, Any]:
    """A loop that runs Python all the time, beside a writer that can't keep up."""
    num_envs, num_steps = 256, 30
    with tempfile.TemporaryDirectory() as folder, burning_store(), torch.inference_mode():
        inner = BusyEnv(num_envs, camera=False, episode_steps=10**9, step_s=5e-3)
        inner.ends_at.fill_(-1)
        small = replace(arguments, max_queue_mb=16)
        env = recorder(inner, Path(folder, "demos"), small, on_full="drop", writer=writer)
        env.reset()
        env.step(inner.actions)
        for _ in range(150):  # until the queue is full
            env.step(inner.actions)
        plain = VectorWrapper(inner)
        recorded, alone = [], []
        for _ in range(9):
            recorded.append(_timed(env, inner, num_steps))
            with paused(env, writer):
                alone.append(_timed(plain, inner, num_steps))
        stats = env.stats()
        env.close()
    with_s, alone_s = statistics.median(recorded), statistics.median(alone)
    return {
        "what": f"saturated writer {writer}",
        "num_envs": num_envs,
        "camera": False,
        "queued_megabytes": round(stats.queued_bytes / 1e6, 1),
        "alone_ms": round(alone_s * 1e3, 3),
        "with_ms": round(with_s * 1e3, 3),
        "ratio_loop": round(with_s / alone_s, 3),
    }


def _timed(env: Any, inner: FixedEnv, num_steps: int) -> float:
    begin_s = time.perf_counter()
    for _ in range(num_steps):
        env.step(inner.actions)
    return (time.perf_counter() - begin_s) / num_steps


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Measure and print everything."""
    torch.set_num_threads(1)
    about = machine(torch.device("cpu"))
    lines = []

    def add(line: dict[str, Any], benchmark: str) -> None:
        line = {"benchmark": benchmark, **line, **about}
        print(json.dumps(line), flush=True)
        lines.append(line)

    for camera in (False, True) if arguments.camera else (False,):
        for num_envs in arguments.num_envs:
            add(measure_append(num_envs, arguments, camera=camera), "recording append")
            for line in measure_loop(num_envs, arguments, camera=camera):
                add(line, "recording")
    for writer in ("process", "thread"):
        add(measure_saturated(arguments, writer), "recording saturated")
    from tests.benchmarks import recording_loop  # which imports this module

    return lines + recording_loop.main(recording_loop.Arguments(arguments.num_envs))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
