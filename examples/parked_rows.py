"""A curriculum that parks rows: the harder ones wait until the easier ones are solved.

    python examples/parked_rows.py             # a few seconds
    python examples/parked_rows.py --help

Each row is a level, harder from row to row: the goal is further away. The learner (a random search
over three numbers, to keep this short) begins with one row. All others are parked, which is to say
suspended in the start states of their levels. Whenever all active levels are solved, the next one
joins. Parked rows cost no reward, no reset, and no physics where rows are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import tyro
from rich.console import Console

from holdstep.envs import make
from holdstep.wrappers import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs


@dataclass
class Arguments:
    """How many levels, and how long to try."""

    num_levels: int = 12
    """Rows."""

    max_trials: int = 300
    """Policies to try."""

    seed: int = 0
    """Of the levels and of the search."""


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        num_active: how many levels were active in each trial.
        row_steps: steps of all rows.
        steps_of_level: steps of each level.
        parked_unchanged: whether the levels were what they were when they joined, bit for bit.
        solved: levels that the last policy solves.
    """

    num_active: list[int]
    row_steps: int
    steps_of_level: list[int]
    parked_unchanged: bool
    solved: int


class Levels:
    """Rows with start states from easy to hard, of which the first few are active.

    Args:
        num_levels: rows.
        seed: of the start states.
    """

    def __init__(self, num_levels: int, seed: int) -> None:
        self.env = SuspendOnWait(make("holdstep:PointMass", num_envs=num_levels, device="cpu"))
        obs, _ = self.env.reset(seed=seed)
        by_distance = torch.linalg.vector_norm(obs["policy"][:, 4:], dim=1).argsort()
        self.starts = self.env.snapshot(by_distance)
        self.env.restore(self.starts, torch.arange(num_levels))
        self.env.suspend(torch.arange(num_levels))
        self.num_active = 1
        self.steps = torch.zeros(num_levels, dtype=torch.int64)

    def try_policy(self, gains: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Play one episode in each active level.

        Returns:
            Returns float32, and whether the goal was reached, of the active levels.
        """
        active = torch.arange(self.num_active)
        obs = self.env.restore(self.starts[active], active)
        self.env.resume(active)
        returns = torch.zeros(self.env.num_envs)
        solved = torch.zeros(self.env.num_envs, dtype=torch.bool)
        while not self.env.suspended.all():
            obs, reward, terminated, truncated, info = self.env.step(act(obs, gains))
            returns += reward
            solved |= terminated
            self.steps += info["active"]
            self.env.suspend(terminated | truncated)  # until the next trial
        return returns[active], solved[active]

    def add_one(self) -> bool:
        """Activate the next level; whether it was still what it was when it was parked."""
        row = self.num_active
        self.num_active += 1
        parked, start = self.env.snapshot(row), self.starts[[row]]
        return all(torch.equal(parked.rows[name], start.rows[name]) for name in start.rows)


def act(obs: Obs, gains: torch.Tensor) -> torch.Tensor:
    """Actions ``[N, 2]``: position, velocity and the way to the goal, each with a gain."""
    position, velocity, to_goal = obs["policy"].tensor_split(3, dim=1)
    return (gains[0] * position + gains[1] * velocity + gains[2] * to_goal).clamp(-1.0, 1.0)


def main(arguments: Arguments) -> Outcome:
    """Search, print how it went, and return it."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(arguments.seed)
    console = Console()
    levels = Levels(arguments.num_levels, arguments.seed)
    best = torch.zeros(3)
    best_returns, solved = levels.try_policy(best)
    num_active, unchanged = [1], True
    for trial in range(arguments.max_trials):
        if solved.all():
            if levels.num_active == arguments.num_levels:
                break
            unchanged &= levels.add_one()
            best_returns, solved = levels.try_policy(best)  # what it is worth with one more level
            console.print(f"trial {trial}: {levels.num_active} levels active")
        gains = best + torch.randn(3, generator=generator)
        returns, now_solved = levels.try_policy(gains)
        if returns.mean() > best_returns.mean():
            best, best_returns, solved = gains, returns, now_solved
        num_active.append(levels.num_active)
    levels.env.close()
    row_steps = int(levels.steps.sum())
    console.print(
        f"{int(solved.sum())} of {arguments.num_levels} levels solved after {len(num_active)} "
        f"trials and {row_steps} steps of rows; gains {[round(gain, 2) for gain in best.tolist()]}"
    )
    return Outcome(num_active, row_steps, levels.steps.tolist(), unchanged, int(solved.sum()))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
