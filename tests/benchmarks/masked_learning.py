"""What suspended rows make of learning: with MaskedPPO, with plain PPO, and without suspension.

    python tests/benchmarks/masked_learning.py --figure docs/benchmarks/masked_learning.png
    python tests/benchmarks/masked_learning.py --quick

Trains the task's own rsl_rl configuration until the rows have taken a number of steps, the same for
all: suspended ones don't count. Then plays the policy without suspension and without exploration.
Prints one JSON line per training, with its learning curve, and one per algorithm with the medians.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
import tyro

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from holdstep.cli.quiet import quiet_simulators
from holdstep.envs import RslRlVecEnv, make
from holdstep.policies.episodes import play_first_episodes
from holdstep.policies.rsl_rl import RslRlPolicy, runner_config
from holdstep.policies.rsl_rl.masking import MASKED_PPO
from holdstep.policies.rsl_rl.runner import make_runner
from holdstep.policies.rsl_rl.task_config import runner_class
from holdstep.wrappers import SuspendOnWait, VectorWrapper
from tests.benchmarks.measure import machine

if TYPE_CHECKING:
    from holdstep.envs.contract import StepResult, TorchVectorEnv

WITHOUT, MASKED, PLAIN = "PPO, nothing suspended", "MaskedPPO", "PPO on all it is given"
COLORS = {WITHOUT: "C7", MASKED: "C0", PLAIN: "C3"}


@dataclass
class Arguments:
    """What to train."""

    env_id: str = "mjlab:Mjlab-Cartpole-Balance"
    """A task with an rsl_rl configuration."""

    num_envs: int = 64
    """Rows."""

    iterations: int = 120
    """Of the training without suspension; the others take as many steps of rows."""

    seeds: int = 5
    """Trainings of each kind."""

    first_seed: int = 0
    """Their seeds begin with this one; several processes can share them out."""

    device: str = "cpu"
    """Where it is simulated and learnt."""

    share: float = 0.3
    """Share of rows that are suspended, at any time."""

    spell: float = 8.0
    """For how many steps of the batch, in the mean."""

    figure: Path | None = None
    """Where the learning curves are drawn."""

    quick: bool = False
    """A few iterations of one seed, to see that it runs."""


class Spells(VectorWrapper):
    """Suspends rows at random, each for a while, so that a share of them is at any time.

    Also counts what was earned: rewards and steps of rows that advanced.
    """

    def __init__(self, env: SuspendOnWait, *, share: float, spell: float, seed: int) -> None:
        super().__init__(env)
        self._suspender = env
        self._draw = torch.Generator().manual_seed(seed)
        self._end = 1 / spell
        self._begin = self._end * share / (1 - share)
        self._still = torch.rand(env.num_envs, generator=self._draw) < share
        self.reward = 0.0
        self.num_steps = 0

    def step(self, actions: torch.Tensor) -> StepResult:
        """Step the rows that are not having a spell."""
        chance = torch.rand(self.num_envs, generator=self._draw)
        self._still = torch.where(self._still, chance >= self._end, chance < self._begin)
        if self._still.all():
            self._still[0] = False
        still = self._still.to(self.device)
        self._suspender.resume(self._suspender.suspended & ~still)
        self._suspender.suspend(still & ~self._suspender.suspended)
        result = self.env.step(actions)
        self.reward += float(result[1].sum())
        self.num_steps += int(result[4]["active"].sum())
        return result


def train(arguments: Arguments, what: str, seed: int, test_env: TorchVectorEnv) -> dict[str, Any]:
    """Train once, and play what was learnt."""
    torch.manual_seed(seed)
    with quiet_simulators():
        made = make(
            arguments.env_id, num_envs=arguments.num_envs, device=arguments.device, seed=seed
        )
        share = 0.0 if what == WITHOUT else arguments.share
        env = Spells(SuspendOnWait(made), share=share, spell=arguments.spell, seed=seed)
        config = runner_config(arguments.env_id, env)
        config["seed"] = seed
        if what == MASKED:
            config["algorithm"]["class_name"] = MASKED_PPO
        view = RslRlVecEnv(env, clip_actions=config.get("clip_actions"))
        base = runner_class(arguments.env_id)
        runner = make_runner(view, config, base=base, quiet=True)
        enough = arguments.iterations * config["num_steps_per_env"] * arguments.num_envs
        curve: list[tuple[int, float]] = []
        steps = 0
        while steps < enough:
            runner.learn(1, init_at_random_ep_len=not curve)
            steps += env.num_steps
            curve.append((steps, round(env.reward / env.num_steps, 5)))
            env.reward, env.num_steps = 0.0, 0
        env.close()
        policy = RslRlPolicy(
            runner.get_inference_policy(device=arguments.device),
            num_envs=test_env.num_envs,
            clip_actions=config.get("clip_actions"),
        )
        most = (test_env.max_episode_length or 1000) + 1
        played = play_first_episodes(test_env, policy, max_steps=most, seed=10_000)
    return {
        "benchmark": "masked learning, one training",
        "what": what,
        "task": arguments.env_id,
        "num_envs": arguments.num_envs,
        "suspended_share": share,
        "seed": seed,
        "steps_of_rows": steps,
        "iterations": len(curve),
        "mean_return": round(float(played.returns.mean()), 3),
        "curve": curve,
        **machine(torch.device(arguments.device)),
    }


def summary(lines: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """The median return of one kind of training, and its ratio to that without suspension."""

    def of(kind: str) -> list[float]:
        return [line["mean_return"] for line in lines if line["what"] == kind]

    kept = ("task", "num_envs", "device", "torch", "rsl-rl-lib", "mjlab")
    first = next(line for line in lines if line["what"] == what)
    return {
        "benchmark": "masked learning",
        "what": what,
        "seeds": len(of(what)),
        "median_return": median(of(what)),
        "lowest_return": min(of(what)),
        "ratio": round(median(of(what)) / median(of(WITHOUT)), 4),
        "suspended_share": first["suspended_share"],
        "steps_of_rows": first["steps_of_rows"],
        **{key: first[key] for key in kept if key in first},
    }


def draw(lines: list[dict[str, Any]], file: Path) -> None:
    """Draw the learning curves: reward per step over steps, of all seeds, the median thick."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for what, color in COLORS.items():
        curves = [line["curve"] for line in lines if line["what"] == what]
        for curve in curves:
            axes.plot(*zip(*curve, strict=True), color=color, alpha=0.25, lw=0.8)
        shortest = min(map(len, curves))
        steps = [median(curve[i][0] for curve in curves) for i in range(shortest)]
        rewards = [median(curve[i][1] for curve in curves) for i in range(shortest)]
        axes.plot(steps, rewards, color=color, lw=2, label=what)
    axes.set_xlabel("steps that rows took")
    axes.set_ylabel("mean reward of such a step")
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(f"{lines[0]['task']}, {max(x['suspended_share'] for x in lines):.0%} suspended")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def main(arguments: Arguments) -> list[dict[str, Any]]:
    """Train all kinds with all seeds."""
    if arguments.quick:
        arguments = replace(arguments, iterations=3, seeds=1, num_envs=16)
    with quiet_simulators():
        test_env = make(arguments.env_id, num_envs=16, device=arguments.device, seed=10_000)
    lines = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for what in COLORS:
            lines.append(train(arguments, what, seed, test_env))
            print(json.dumps(lines[-1]), flush=True)
    test_env.close()
    summaries = [summary(lines, what) for what in COLORS]
    if arguments.figure is not None:
        draw(lines, arguments.figure)
    return summaries


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in main(tyro.cli(Arguments)):
        print(json.dumps(line))
