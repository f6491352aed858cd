"""How good is a policy, and is another one better?

    python examples/evaluate_policy.py
    python examples/evaluate_policy.py --num-episodes 400 --out evaluation

A controller steers point masses to their goals before the time is up. It is evaluated as it is, and
as a policy that returns chunks of actions and looks at the world only when a chunk is used up. Both
face the same episodes, so that they can be compared one by one. For contrast, the success rate is
also read off in the usual, biased way: from the first episodes that end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import tyro
from rich.console import Console

from holdstep import evaluate
from holdstep.envs import make
from holdstep.policies import ChunkRequest, ChunkResult, ChunkSpec, EvalResult
from holdstep.wrappers import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs import TorchVectorEnv
    from holdstep.envs.contract import Obs


@dataclass
class Arguments:
    """What to evaluate."""

    num_episodes: int = 300
    """Episodes that count."""

    num_envs: int = 32
    """Rows."""

    chunk_length: int = 12
    """Actions of a chunk."""

    seed: int = 0
    """Of the episodes."""

    out: Path | None = None
    """Folder for the results as JSON and PNG."""


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        steps: the controller that looks at every step.
        chunks: the one that looks once per chunk.
        only_steps: episodes that only the first one solved.
        only_chunks: episodes that only the second one solved.
        first_to_end: the success rate of the chunks among the first episodes that ended.
    """

    steps: EvalResult
    chunks: EvalResult
    only_steps: int
    only_chunks: int
    first_to_end: float


def control(obs: Obs) -> torch.Tensor:
    """Accelerations ``[N, 2]`` towards the goal, with some damping."""
    velocity, to_goal = obs["policy"][:, 2:4], obs["policy"][:, 4:]
    return (2.0 * to_goal - 1.2 * velocity).clamp(-1.0, 1.0)


class ChunkedController:
    """The same controller, which decides on several actions at once."""

    def __init__(self, chunk_length: int) -> None:
        self.spec = ChunkSpec(chunk_length=chunk_length, action_dim=2, obs_keys=("policy",))

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """The action of now, ever weaker, for the rest of the chunk."""
        fading = torch.linspace(1.0, 0.0, self.spec.chunk_length).view(1, -1, 1)
        return ChunkResult(actions=control(request.obs)[:, None] * fading)

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Nothing is remembered."""


def make_env(arguments: Arguments) -> TorchVectorEnv:
    """Point masses with little time, whose rows can wait."""
    env = make(
        "holdstep:PointMass", num_envs=arguments.num_envs, device="cpu", max_episode_length=60
    )
    return SuspendOnWait(env, rng="per_env")


def first_to_end(env: TorchVectorEnv, policy: ChunkedController, num_episodes: int) -> float:
    """What is often taken for the success rate: biased towards what ends early."""
    from holdstep.policies import ChunkRunner

    successes: list[bool] = []
    with ChunkRunner(env, policy) as runner:
        runner.reset(seed=0)
        while len(successes) < num_episodes:
            step = runner.step()
            successes += step.info["success"][step.terminated | step.truncated].tolist()
    return sum(successes[:num_episodes]) / num_episodes


def main(arguments: Arguments) -> Outcome:
    """Evaluate both, print and compare them."""
    torch.set_num_threads(1)
    console = Console()
    env = make_env(arguments)
    chunked = ChunkedController(arguments.chunk_length)
    results = [
        evaluate(env, policy, arguments.num_episodes, arguments.seed, progress=True)
        for policy in (control, chunked)
    ]
    steps, chunks = results
    for name, result in (("steps", steps), ("chunks", chunks)):
        console.print(result.table())
        if arguments.out is not None:
            result.to_json(arguments.out / f"{name}.json")
            result.plot(arguments.out / f"{name}.png")
    # Episode i is the same task for both, so the comparison is paired.
    pairs = list(zip(steps.episodes, chunks.episodes, strict=True))
    outcome = Outcome(
        steps=steps,
        chunks=chunks,
        only_steps=sum(one.success and not other.success for one, other in pairs),
        only_chunks=sum(other.success and not one.success for one, other in pairs),
        first_to_end=first_to_end(env, chunked, arguments.num_envs),
    )
    console.print(
        f"Of {len(pairs)} episodes, {outcome.only_steps} are solved only with a look at every "
        f"step, {outcome.only_chunks} only with chunks."
    )
    console.print(
        f"With chunks, {chunks.success_rate:.2f} succeed; among the first {arguments.num_envs} "
        f"episodes that end, {outcome.first_to_end:.2f}."
    )
    env.close()
    return outcome


if __name__ == "__main__":
    main(tyro.cli(Arguments))
