"""Two operators of different speed drive a row each; what they did is recorded, and replayed.

    python examples/teleop_replay.py             # a few seconds
    python examples/teleop_replay.py --plot ages.png
    python examples/teleop_replay.py --help

Both are scripted, so that no hardware is needed; one takes longer than a step, and now and then
much longer. Its row stands still while there is nothing fresh, and the other one goes on. The
recording has no trace of that, but it says of each action how old it was. Replayed through the same
wrapper, it leads to the same states.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import tyro
from rich.console import Console

from holdstep.envs import make
from holdstep.wrappers import PipelinedActions, RecordEpisodes, SuspendOnWait
from holdstep.wrappers.pipeline import ActionSource, SourceRequest, SourceResult
from holdstep.wrappers.pipeline.pacing import Adaptive
from holdstep.wrappers.record import Dataset

if TYPE_CHECKING:
    from holdstep.wrappers.record import Episode

TASK = "holdstep:PointMass"


@dataclass
class Arguments:
    """How slow, and how many demonstrations."""

    num_episodes: int = 6
    """Demonstrations of both operators together."""

    slow_ms: float = 8.0
    """What a frame of the slow operator takes; each tenth takes five times as long."""

    step_ms: float = 3.0
    """What a step of the simulation takes besides."""

    out: Path | None = None
    """Folder of the recording; by default one that is thrown away."""

    plot: Path | None = None
    """Draw the ages of all recorded actions' inputs to this file."""

    seed: int = 0
    """Of the episodes."""


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        num_steps: steps that each row made.
        num_still: steps of the others in which each row stood still.
        max_age_frames: of any action that was recorded.
        misses: recorded steps whose action was more than a step old.
        num_episodes: that were recorded, and replayed.
        largest_difference: between what was observed in the recording and in its replay.
    """

    num_steps: list[int]
    num_still: list[int]
    max_age_frames: int
    misses: int
    num_episodes: int
    largest_difference: float


class Operator(ActionSource):
    """Pushes the mass to the goal, and takes its time for it.

    Args:
        frame_s: what a frame takes [s]; each tenth takes five times as long.
    """

    uses_obs = True

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s

    def compute(self, request: SourceRequest) -> SourceResult:
        """Look, think, and push."""
        assert request.obs is not None
        looked_s = time.monotonic()
        time.sleep(self._frame_s * (5.0 if request.frame_id % 10 == 9 else 1.0))
        _, velocity, to_goal = request.obs["policy"].tensor_split(3, dim=1)
        push = (to_goal - 0.75 * velocity).clamp(-1.0, 1.0)
        return SourceResult(actions=push, input_time_s=looked_s)


class Replay(ActionSource):
    """Does what was recorded, frame by frame."""

    uses_obs = False
    lossless = True

    def __init__(self, episode: Episode) -> None:
        self._actions = episode.arrays["actions"]

    def compute(self, request: SourceRequest) -> SourceResult:
        """The next action, and whether it is the last one."""
        index = request.frame_id
        last = len(self._actions) - 1
        return SourceResult(
            actions=self._actions[index] if index <= last else None, end_of_replay=index >= last
        )


def record(arguments: Arguments, out: Path) -> tuple[list[int], list[int]]:
    """Let both operators drive; how often each row was stepped, and stood still."""
    env = SuspendOnWait(make(TASK, num_envs=2, device="cpu"))
    keys = ["obs", "actions", "states", "teleop"]
    recorder = RecordEpisodes(env, out, keys=keys, max_episodes=arguments.num_episodes)
    operators = {"quick": Operator(0.0005), "slow": Operator(arguments.slow_ms / 1000)}
    env = PipelinedActions(recorder, operators, on_stale="suspend", pacing=Adaptive())
    num_active, num_ticks = torch.zeros(2, dtype=torch.int64), 0
    env.reset(seed=arguments.seed)
    while not recorder.finished:
        *_, info = env.step()
        num_active += info["active"]
        num_ticks += 1
        time.sleep(arguments.step_ms / 1000)
    env.close()
    return num_active.tolist(), (num_ticks - num_active).tolist()


def replayed_difference(episode: Episode) -> float:
    """Replay an episode; the largest difference of what is observed from what was."""
    env = make(TASK, num_envs=1, device="cpu")
    pipelined = PipelinedActions(SuspendOnWait(env), Replay(episode))
    pipelined.reset(seed=0)
    start = {
        name.removeprefix("initial_state/"): torch.as_tensor(value)
        for name, value in episode.arrays.items()
        if name.startswith("initial_state/")
    }
    obs = pipelined.set_scene_state(start)
    worst = 0.0
    for expected in episode.arrays["obs/policy"]:
        worst = max(worst, float(np.abs(obs["policy"][0].numpy() - expected).max()))
        obs, *_ = pipelined.step()
    pipelined.close()
    return worst


def plot_ages(episodes: list[Episode], path: Path) -> None:
    """Draw how old inputs were when they acted, for each row."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    for row, name in enumerate(("quick", "slow")):
        mine = [e.arrays["teleop/input_age_s"] for e in episodes if e.attributes["env_id"] == row]
        if mine:
            axes.plot(1000 * np.concatenate(mine), label=f"row {row}: {name}")
    axes.set(xlabel="recorded step of the row", ylabel="age of the inputs [ms]")
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


def main(arguments: Arguments) -> Outcome:
    """Record, replay, print how it went, and return it."""
    torch.set_num_threads(1)
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.out or Path(scratch) / "demos"
        num_steps, num_still = record(arguments, out)
        with Dataset(out) as dataset:
            episodes = list(dataset)
            ages = np.concatenate([e.arrays["teleop/age_frames"] for e in episodes])
            misses = np.concatenate([e.arrays["teleop/miss"] for e in episodes])
            difference = max(replayed_difference(episode) for episode in episodes)
            if arguments.plot is not None:
                plot_ages(episodes, arguments.plot)
    for row, name in enumerate(("quick", "slow")):
        console.print(f"row {row}, {name}: {num_steps[row]} steps, stood still {num_still[row]}")
    console.print(
        f"{len(episodes)} episodes, no action older than {ages.max()} steps, {misses.sum()} "
        f"misses; replayed, observations differ by at most {difference:g}"
    )
    return Outcome(
        num_steps, num_still, int(ages.max()), int(misses.sum()), len(episodes), difference
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
