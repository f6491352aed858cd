"""Rows of one batch on different timescales: row i steps in every k_i-th tick only.

    python examples/timescales.py
    python examples/timescales.py --periods 1 2 3 5

A fast and a slow robot, or a sensor that delivers every tenth of a second beside one that delivers
every hundredth: in a batch all rows step at once. Suspending a row between its ticks gives it a
clock of its own. In its own time it lives exactly as it would without the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import tyro
from rich.console import Console
from rich.table import Table

from holdstep.envs import make
from holdstep.wrappers import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs


@dataclass
class Arguments:
    """How long, and who steps how often."""

    periods: tuple[int, ...] = (1, 2, 4, 8)
    """Of each row, in ticks."""

    num_ticks: int = 200
    """Steps of the batch."""

    max_episode_length: int = 60
    """Time limit of an episode, in steps of its own row."""

    seed: int = 0
    """Of the env."""


@dataclass(frozen=True)
class Outcome:
    """What the rows went through.

    Attributes:
        histories: the observations of each row after its own steps, float32 ``[steps, 4]``.
        episodes: how many episodes each row has finished.
    """

    histories: list[torch.Tensor]
    episodes: list[int]


def policy(obs: Obs) -> torch.Tensor:
    """Forces ``[N, 1]`` that keep poles up."""
    angle, angle_rate = obs["policy"][:, 2:3], obs["policy"][:, 3:4]
    return (8.0 * angle + 0.6 * angle_rate).clamp(-1.0, 1.0)


def main(arguments: Arguments) -> Outcome:
    """Run all ticks, print what the rows did, and return it."""
    torch.set_num_threads(1)
    periods = torch.tensor(arguments.periods)
    backend = make(
        "holdstep:CartPole",
        num_envs=len(periods),
        device="cpu",
        max_episode_length=arguments.max_episode_length,
    )
    env = SuspendOnWait(backend)
    obs, _ = env.reset(seed=arguments.seed)
    histories: list[list[torch.Tensor]] = [[] for _ in periods]
    episodes = torch.zeros(len(periods), dtype=torch.int64)
    for tick in range(arguments.num_ticks):
        due = tick % periods == 0
        if not due.any():
            continue  # a step with every row suspended would wait for one to be resumed
        env.resume(due & env.suspended)
        env.suspend(~due & ~env.suspended)
        obs, _, terminated, truncated, info = env.step(policy(obs))
        episodes += terminated | truncated
        for row in info["active"].nonzero().flatten().tolist():
            histories[row].append(obs["policy"][row])
    env.close()

    table = Table("row", "period [ticks]", "steps", "episodes ended")
    for row, period in enumerate(arguments.periods):
        table.add_row(str(row), str(period), str(len(histories[row])), str(int(episodes[row])))
    Console().print(table)
    return Outcome([torch.stack(history) for history in histories], episodes.tolist())


if __name__ == "__main__":
    main(tyro.cli(Arguments))
