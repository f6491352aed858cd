"""Train a cart-pole while at any time a third of the rows waits for something slow.

    python examples/train_under_suspension.py             # about twenty seconds on one CPU core
    python examples/train_under_suspension.py --help

Every now and then a row has to ask something that takes a while (a planner, a person, a remote
service). It is suspended meanwhile, and the others go on. To rsl_rl's PPO a row that stands still
looks like one that took a step which changed nothing and earned nothing. This trains three times on
the same number of env steps that rows really took:

1. rsl_rl's PPO where nobody waits, to compare with;
2. ``MaskedPPO`` where rows wait: it learns from the steps that rows took, and nothing else;
3. rsl_rl's PPO where rows wait, with ``gather=True``: a step lasts until every row has taken one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from rsl_rl.runners import OnPolicyRunner

from holdstep.envs import RslRlVecEnv, TorchVectorEnv, make
from holdstep.policies import play_first_episodes
from holdstep.policies.rsl_rl import Iteration, RslRlPolicy
from holdstep.policies.rsl_rl.masking import mask_learning
from holdstep.policies.rsl_rl.runner import make_runner
from holdstep.policies.rsl_rl.task_config import small_ppo
from holdstep.wrappers import SuspendOnWait, VectorWrapper

if TYPE_CHECKING:
    from holdstep.envs.contract import StepResult


@dataclass
class Arguments:
    """What to train, and for how long."""

    num_envs: int = 64
    """Rows."""

    env_steps: int = 40_000
    """Steps that rows take in training, in each of the three."""

    ask: float = 0.08
    """How likely a row asks for something after a step."""

    answer_takes: int = 11
    """At the latest when it is looked for so many times, which each step does once, it is there."""

    seed: int = 0
    """Seed of env, networks, sampling and waits."""


@dataclass
class Outcome:
    """What one of the trainings came to.

    Attributes:
        name: which one.
        length: mean length of an episode afterwards, without exploration [env steps].
        env_steps: steps that rows took.
        ticks: steps of the batch.
        train_s: time that it took [s].
    """

    name: str
    length: float
    env_steps: int
    ticks: int
    train_s: float


class Answer:
    """What a row waits for; it is there when somebody has looked for it often enough."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __call__(self) -> bool:
        """Look."""
        self.looks -= 1
        return self.looks <= 0


class AskNowAndThen(VectorWrapper):
    """Suspends rows that have to wait for an answer."""

    def __init__(self, env: SuspendOnWait, arguments: Arguments) -> None:
        super().__init__(env)
        self.suspender = env
        self.arguments = arguments
        self.draw = np.random.default_rng(arguments.seed)
        self.ticks = 0

    def step(self, actions: torch.Tensor) -> StepResult:
        """Step the rows that don't wait; some of them wait then."""
        result = self.env.step(actions)
        self.ticks += 1
        for row in result[4]["active"].nonzero().flatten().tolist():
            if self.draw.random() < self.arguments.ask:
                looks = int(self.draw.integers(2, self.arguments.answer_takes + 1))
                # Usually this is a future: of a thread pool, or of a request to a server.
                self.suspender.suspend([row], until=Answer(looks))
        return result


def main(arguments: Arguments) -> list[Outcome]:
    """Train three times, print how it went, and return it."""
    torch.set_num_threads(1)
    outcomes = [
        train("PPO, nobody waits", arguments, waiting=False),
        train("MaskedPPO, rows wait", arguments),
        train("PPO, gather=True, rows wait", arguments, gather=True),
    ]
    table = Table("", "episode [steps]", "steps of rows", "steps of the batch", "time [s]")
    for outcome in outcomes:
        numbers = (outcome.env_steps, outcome.ticks, round(outcome.train_s))
        table.add_row(outcome.name, f"{outcome.length:.0f}", *(f"{n:,}" for n in numbers))
    Console().print(table)
    return outcomes


def train(
    name: str, arguments: Arguments, *, waiting: bool = True, gather: bool = False
) -> Outcome:
    """Train until rows have taken so many steps."""
    torch.manual_seed(arguments.seed)
    env: TorchVectorEnv = make(
        "holdstep:CartPole", num_envs=arguments.num_envs, device="cpu", seed=arguments.seed
    )
    if waiting:
        env = AskNowAndThen(SuspendOnWait(env), arguments)
    config = small_ppo(env)
    if not gather:
        # What `holdstep.policies.rsl_rl.train` does, too: MaskedPPO where rows can be suspended.
        mask_learning(config, env)
    iterations: list[Iteration] = []
    runner = make_runner(
        RslRlVecEnv(env, gather=gather),
        config,
        base=OnPolicyRunner,
        on_iteration=iterations.append,
        quiet=True,
    )
    started = time.perf_counter()
    while sum(iteration.num_steps for iteration in iterations) < arguments.env_steps:
        runner.learn(1, init_at_random_ep_len=not iterations)
    train_s = time.perf_counter() - started
    # Afterwards, nobody waits: what counts is what was learnt.
    test_env = make("holdstep:CartPole", num_envs=64, device="cpu", seed=arguments.seed + 1)
    policy = RslRlPolicy(runner.get_inference_policy(device="cpu"), num_envs=64)
    episodes = play_first_episodes(test_env, policy, max_steps=501, seed=arguments.seed + 1)
    env_steps = sum(iteration.num_steps for iteration in iterations)
    ticks = env.ticks if isinstance(env, AskNowAndThen) else env_steps // arguments.num_envs
    return Outcome(name, float(episodes.lengths.float().mean()), env_steps, ticks, train_s)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
