"""Prepare expensive resets in the background, while only the rows that need them stand still.

    python examples/background_resets.py             # a few seconds
    python examples/background_resets.py --in-place  # the same, waiting for each scene: slower

A start state that takes long to make (a generated scene, a search for a hard case, a download)
usually stops the whole batch. Here a row that has ended is suspended and a thread makes its next
start state; when that is ready, it is put into the row, which goes on. The other rows never wait.
"""

from __future__ import annotations

import concurrent.futures
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import tyro
from rich.console import Console

from holdstep.envs import make
from holdstep.wrappers import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs
    from holdstep.envs.state.snapshot import Snapshot

MIN_DISTANCE = 1.2
"""How far the goal is at least in the start states that are made [m]."""


@dataclass
class Arguments:
    """How much to do, and how slow scenes are."""

    num_envs: int = 8
    """Rows."""

    num_episodes: int = 40
    """Episodes in total."""

    scene_s: float = 0.15
    """How long it takes to make a start state [s]."""

    num_threads: int = 4
    """Start states that are made at once."""

    in_place: bool = False
    """Make them in the loop instead, as one would without suspension."""


@dataclass
class Outcome:
    """What happened.

    Attributes:
        wall_s: time that everything took [s].
        scenes_s: time that making the start states took, summed [s].
        num_steps: steps of the batch.
        row_steps: steps of rows; fewer than steps of the batch times rows, since rows stood still.
        start_distances: of the goal, at the start of each episode [m].
        stood_still: whether rows looked the same all the time that they were suspended.
    """

    wall_s: float = 0.0
    scenes_s: float = 0.0
    num_steps: int = 0
    row_steps: int = 0
    start_distances: list[float] = field(default_factory=list)
    stood_still: bool = True


def make_scene(seed: int, scene_s: float) -> Snapshot:
    """A start state with a far goal, made in an env of its own: envs belong to one thread."""
    time.sleep(scene_s)  # stands for what is expensive about it
    env = SuspendOnWait(make("holdstep:PointMass", num_envs=1, device="cpu", seed=seed))
    obs, _ = env.reset()
    while distance(obs)[0] < MIN_DISTANCE:
        obs, _ = env.reset()
    scene = env.snapshot()
    env.close()
    return scene


def distance(obs: Obs) -> torch.Tensor:
    """Of each row's goal [m], float32 ``[N]``."""
    return obs["policy"][:, 4:].square().sum(dim=1).sqrt()


def policy(obs: Obs) -> torch.Tensor:
    """Actions ``[N, 2]`` that steer to the goal."""
    velocity, to_goal = obs["policy"][:, 2:4], obs["policy"][:, 4:]
    return (4.0 * to_goal - 2.0 * velocity).clamp(-1.0, 1.0)


def main(arguments: Arguments) -> Outcome:
    """Run the episodes, print what that took, and return it."""
    torch.set_num_threads(1)
    outcome = Outcome()
    env = SuspendOnWait(make("holdstep:PointMass", num_envs=arguments.num_envs, device="cpu"))
    obs, _ = env.reset(seed=0)
    scenes: dict[int, Future[Snapshot]] = {}  # those that rows wait for
    num_begun = num_ended = 0
    started = time.perf_counter()
    with ThreadPoolExecutor(arguments.num_threads) as pool:
        # At first, every row needs a scene.
        ended = list(range(arguments.num_envs))
        while num_ended < arguments.num_episodes:
            # 1. Rows that need a scene are suspended until it is there.
            for row in ended:
                env.suspend(row)
                scenes[row] = pool.submit(make_scene, num_begun, arguments.scene_s)
                num_begun += 1
            outcome.scenes_s += arguments.scene_s * len(ended)

            # 2. Scenes that are ready go into their rows. Wait only if there is nothing to step.
            if arguments.in_place or len(scenes) == env.num_envs:
                when = concurrent.futures.FIRST_COMPLETED
                if arguments.in_place:
                    when = concurrent.futures.ALL_COMPLETED
                concurrent.futures.wait(scenes.values(), return_when=when)
            for row in [row for row, scene in scenes.items() if scene.done()]:
                obs = env.restore(scenes.pop(row).result(), row)
                env.resume(row)
                outcome.start_distances.append(float(distance(obs)[row]))

            # 3. All others advance. What the policy says about suspended rows is ignored.
            last_obs, suspended = obs, env.suspended
            obs, _, terminated, truncated, info = env.step(policy(obs))
            same = torch.equal(obs["policy"][suspended], last_obs["policy"][suspended])
            outcome.stood_still &= same and not info["active"][suspended].any()
            outcome.num_steps += 1
            outcome.row_steps += int(info["active"].sum())
            ended = (terminated | truncated).nonzero().flatten().tolist()
            num_ended += len(ended)
    outcome.wall_s = time.perf_counter() - started
    env.close()
    Console().print(
        f"{num_ended} episodes in {outcome.wall_s:.1f} s; making start states took "
        f"{outcome.scenes_s:.1f} s in all; {outcome.num_steps} steps of the batch, "
        f"{outcome.row_steps} of rows"
    )
    return outcome


if __name__ == "__main__":
    main(tyro.cli(Arguments))
