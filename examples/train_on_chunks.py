"""Train a policy whose actions are chunks: it looks at the cart-pole once per eight steps.

    python examples/train_on_chunks.py             # about ten seconds on one CPU core
    python examples/train_on_chunks.py --help

The policy returns ``chunk_length`` forces at once, which are applied one after the other before it
sees the cart-pole again. To PPO a chunk is one action of ``chunk_length`` numbers that takes as
many env steps as were played of it: what follows is worth ``gamma ** num_steps``. Episodes end
inside of chunks all the time. A row that ends stands still until the others have played theirs, so
that no force that was meant for the old episode is applied in the new one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import tyro
from rich.console import Console
from rsl_rl.runners import OnPolicyRunner

from holdstep.envs import RslRlVecEnv, make
from holdstep.policies.rsl_rl.masking import MASKED_PPO
from holdstep.policies.rsl_rl.runner import make_runner
from holdstep.policies.rsl_rl.task_config import small_ppo
from holdstep.wrappers import ActionChunkReplay, SuspendOnWait


@dataclass
class Arguments:
    """What to train, and for how long."""

    chunk_length: int = 8
    """Actions per chunk."""

    num_envs: int = 64
    """Rows."""

    iterations: int = 60
    """Iterations of collecting 16 chunks in each row and learning from them."""

    gamma: float = 0.99
    """Discount per env step."""

    seed: int = 0
    """Seed of env, networks and sampling."""


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        lengths: mean length of an episode before and after training [env steps].
        decisions: how often the policy was asked in the episodes after training, over all rows.
        env_steps: steps of all rows in those episodes.
        train_s: time that training took [s].
    """

    lengths: tuple[float, float]
    decisions: int
    env_steps: int
    train_s: float


def main(arguments: Arguments) -> Outcome:
    """Train, print how it went, and return it."""
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)

    # The replay goes outside of what suspends rows, and inside of the RL library's view.
    env = make("holdstep:CartPole", num_envs=arguments.num_envs, device="cpu", seed=arguments.seed)
    env = ActionChunkReplay(SuspendOnWait(env), arguments.chunk_length, gamma=arguments.gamma)
    view = RslRlVecEnv(env)

    config = small_ppo(env)
    config["num_steps_per_env"] = 16
    # MaskedPPO discounts a chunk by its number of env steps, so gamma is that of one of them.
    config["algorithm"] |= {"class_name": MASKED_PPO, "gamma": arguments.gamma}
    runner = make_runner(view, config, base=OnPolicyRunner, quiet=True)
    before, _, _ = play(env, runner)
    started = time.perf_counter()
    view.reset()
    runner.learn(arguments.iterations, init_at_random_ep_len=True)
    train_s = time.perf_counter() - started
    after, decisions, env_steps = play(env, runner)
    env.close()

    Console().print(
        f"episodes of {before:.0f} steps before training and {after:.0f} after {train_s:.0f} s of "
        f"it, of at most {env.max_episode_length}; the policy was asked {decisions} times for "
        f"{env_steps} steps"
    )
    return Outcome((before, after), decisions, env_steps, train_s)


@torch.inference_mode()
def play(env: ActionChunkReplay, runner: OnPolicyRunner) -> tuple[float, int, int]:
    """Play the first episode of each row, without exploration.

    Returns:
        Mean length of an episode [env steps], how often the policy was asked, and steps of rows.
    """
    policy = runner.get_inference_policy(device="cpu")
    view = runner.env
    obs, _ = view.reset()
    running = torch.ones(env.num_envs, dtype=torch.bool)
    lengths = torch.zeros(env.num_envs)
    decisions = 0
    while running.any():
        obs, _, dones, extras = view.step(policy(obs))
        lengths += extras["num_steps"] * running
        decisions += int(running.sum())
        running &= dones == 0
    return float(lengths.mean()), decisions, int(lengths.sum())


if __name__ == "__main__":
    main(tyro.cli(Arguments))
