"""What ways of counting episodes make of a policy that succeeds in half of them.

    python tests/benchmarks/evaluation_bias.py
    python tests/benchmarks/evaluation_bias.py --success-steps 150 --failure-steps 600

In the env, each episode tosses a fair coin: heads succeeds early, tails fails late. Prints one JSON
line per way of counting and number of rows: the mean over repeats of what it reads, where 0.50 is
right.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
import tyro

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from holdstep import evaluate
from holdstep.envs.reference.base import ReferenceEnv, Transition
from tests.benchmarks.measure import machine

if TYPE_CHECKING:
    from holdstep.envs import TorchVectorEnv

_JITTER = 0.1  # lengths vary by so much to either side


@dataclass
class Arguments:
    """What to measure."""

    num_envs: tuple[int, ...] = (16, 64, 256)
    """Rows."""

    num_episodes: int = 2000
    """Episodes of the unbiased evaluation."""

    success_steps: int = 15
    """Mean length of a success."""

    failure_steps: int = 60
    """Mean length of a failure."""

    rate: float = 0.5
    """The true success rate."""

    repeats: int = 100
    """Repeats of the biased ways, over which the mean is taken."""


class Coin(ReferenceEnv):
    """Every episode tosses a coin: heads succeeds early, tails fails late.

    State: steps so far, the step at which the episode ends, and whether it will be a success. The
    reward is 1 per step; actions don't matter.

    Args:
        num_envs: rows.
        rate: how often an episode succeeds.
        success_steps: mean length of a success [env steps].
        failure_steps: mean length of a failure [env steps].
        seed: of the random streams.
        max_episode_length: time limit [env steps]; above all lengths by default.
    """

    step_dt = 0.05
    _single_policy_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    _single_critic_space = _single_policy_space
    _num_actions = 1
    _num_states = 3

    def __init__(
        self,
        num_envs: int,
        *,
        rate: float = 0.5,
        success_steps: int = 15,
        failure_steps: int = 60,
        seed: int = 0,
        max_episode_length: int | None = None,
    ) -> None:
        limit = 2 * max(success_steps, failure_steps)
        super().__init__(num_envs, seed=seed, max_episode_length=max_episode_length or limit)
        self.rate = rate
        self._steps = (success_steps, failure_steps)

    def _initial_state(self, mask: torch.Tensor) -> torch.Tensor:
        coin, jitter = self._rng.uniform(2, mask=mask).unbind(1)
        success = coin < self.rate
        mean = torch.where(success, *(float(steps) for steps in self._steps))
        end = (mean * (1 + _JITTER * (2 * jitter - 1))).round()
        return torch.stack((torch.zeros_like(end), end, success.float()), dim=1)

    def _advance(self, actions: torch.Tensor) -> Transition:
        state = self._state + self._state.new_tensor([1.0, 0.0, 0.0])
        return state, torch.ones_like(state[:, 0]), state[:, 0] >= state[:, 1]

    def _observe(self, state: torch.Tensor, length: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"policy": state.clone(), "critic": state.clone()}

    def _annotate(self, info: dict[str, Any], terminated: torch.Tensor, done: torch.Tensor) -> None:
        info["success"] = (self._state[:, 2] > 0) & terminated

    def _draw(self, state: np.ndarray) -> np.ndarray:
        return np.zeros((8, 8, 3), np.uint8)


def idle(obs: dict[str, torch.Tensor]) -> torch.Tensor:
    """A policy for an env in which it does not matter."""
    return torch.zeros(len(obs["policy"]), 1)


def first_to_finish(env: TorchVectorEnv, num_episodes: int, seed: int) -> float:
    """The success rate among the first episodes that *end*: biased."""
    ended = _successes(env, seed, until=lambda _, ended: len(ended) >= num_episodes)
    return fmean(ended[:num_episodes])


def first_steps(env: TorchVectorEnv, num_steps: int, seed: int) -> float:
    """The success rate among the episodes that end within so many steps: biased."""
    return fmean(_successes(env, seed, until=lambda steps, _: steps >= num_steps))


def _successes(
    env: TorchVectorEnv, seed: int, *, until: Callable[[int, list[bool]], bool]
) -> list[bool]:
    """Whether episodes succeeded, in the order in which they end."""
    obs, _ = env.reset(seed=seed)
    ended: list[bool] = []
    steps = 0
    while not until(steps, ended):
        obs, _, terminated, truncated, info = env.step(idle(obs))
        ended += info["success"][terminated | truncated].tolist()
        steps += 1
    return ended


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Count in each way, and return what it reads."""
    lines: list[dict[str, Any]] = []

    def read(num_envs: int, what: str, rates: list[float], episodes: int | str) -> None:
        lines.append(
            {
                "benchmark": "evaluation bias",
                "what": what,
                "num_envs": num_envs,
                "episodes": episodes,
                "success_rate": round(fmean(rates), 4),
                "true_rate": arguments.rate,
                "success_steps": arguments.success_steps,
                "failure_steps": arguments.failure_steps,
                **machine(torch.device("cpu")),
            }
        )

    for num_envs in arguments.num_envs:
        env = Coin(
            num_envs,
            rate=arguments.rate,
            success_steps=arguments.success_steps,
            failure_steps=arguments.failure_steps,
        )
        seeds = range(arguments.repeats)
        result = evaluate(env, idle, arguments.num_episodes)
        assert result.success_rate is not None
        read(num_envs, "first to start", [result.success_rate], arguments.num_episodes)
        small = [evaluate(env, idle, num_envs, seed).success_rate or 0.0 for seed in seeds]
        read(num_envs, "first to start", small, num_envs)
        ended = [first_to_finish(env, num_envs, seed) for seed in seeds]
        read(num_envs, "first to end", ended, num_envs)
        num_steps = 2 * arguments.failure_steps
        within = [first_steps(env, num_steps, seed) for seed in seeds]
        read(num_envs, f"ends within {num_steps} steps", within, "all of these")
    return lines


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in main(tyro.cli(Arguments)):
        print(json.dumps(line))
