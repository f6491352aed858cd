"""What ranks that evaluate do in the tests of that."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import io
import time
from pathlib import Path

import torch
from torch.distributed.distributed_c10d import _set_pg_timeout

from holdstep import evaluate
from holdstep.cli.evaluate import Evaluate
from holdstep.distributed import Rank, process_group
from holdstep.envs import make
from holdstep.errors import EvaluationError
from tests.policies.evaluation.test_chunked_evaluation import ToTheGoal, outcomes, point_mass


def plain(result):
    """What of a result must not depend on who evaluated it, for JSON."""
    return [dataclasses.asdict(episode) for episode in outcomes(result)]


def to_the_goal(obs):
    return 2.0 * obs["policy"][:, 4:] - 1.5 * obs["policy"][:, 2:4]


class SlowToTheGoal(ToTheGoal):
    """Thinks for a while, once."""

    _has_thought = False

    def infer(self, *args, **options):
        if not self._has_thought:
            self._has_thought = True
            time.sleep(2.0)
        return super().infer(*args, **options)


def chunks(num_episodes, slow=False, **options):
    """A policy of chunks, whose noise follows from the episodes' numbers."""
    texts = [f"go {episode % 3}" for episode in range(num_episodes)]
    policy = (SlowToTheGoal if slow else ToTheGoal)(uses_instructions=True)
    return evaluate(point_mass(3), policy, num_episodes, 5, instructions=texts, **options)


def one_seed_for_all(num_episodes, **options):
    """Rows whose random numbers follow from the reset of all of them."""
    return evaluate(point_mass(4), to_the_goal, num_episodes, 5, per_episode_seeds=False, **options)


class Endless:
    """Nothing ends any more in the second rank, once it has run its first episodes."""

    def __init__(self, env, rank):
        self._step = env.step
        self._rank = rank
        self._num_steps = 0

    def __call__(self, actions):
        obs, reward, terminated, truncated, info = self._step(actions)
        self._num_steps += 1
        if self._rank.number == 1 and self._num_steps > 20:
            terminated, truncated = torch.zeros_like(terminated), torch.zeros_like(truncated)
        return obs, reward, terminated, truncated, info


def endless(num_episodes, rank):
    env = make("holdstep:PointMass", num_envs=2, device="cpu", max_episode_length=15)
    env.step = Endless(env, rank)
    return evaluate(env, lambda _: torch.zeros(2, 2), num_episodes, max_steps=20, rank=rank)


def evaluate_everything(folder):
    """All of it, with two ranks; what each came to."""
    rank = Rank.of_environment()
    with process_group(rank):  # of the script's own, whose ranks may not wait long
        _set_pg_timeout(datetime.timedelta(seconds=0.5))
        whole = chunks(11, rank=rank, slow=rank.number == 1)
    few = chunks(1, rank=rank)
    runs = one_seed_for_all(8, rank=rank)
    try:
        endless(10, rank)
        failure = None
    except EvaluationError as error:
        failure = {"says": str(error), "partial": [e.episode for e in error.partial.episodes]}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        command(Path(folder), num_envs=4).run()
    return {
        "chunks": plain(whole),
        "rows": sorted({episode.env_id for episode in whole.episodes}),
        "num_envs": whole.num_envs,
        "num_ranks": whole.metadata["num_ranks"],
        "num_by_instruction": whole.num_by_instruction,
        "few": plain(few),
        "runs": [episode.episode_return for episode in runs.episodes],
        "failure": failure,
        "printed": printed.getvalue(),
    }


def command(folder, num_envs):
    """``holdstep evaluate`` with a policy of its own file."""
    name = "tests.policies.evaluation.evaluating_ranks:make_policy"
    return Evaluate(
        "holdstep:PointMass",
        policy=name,
        num_episodes=9,
        num_envs=num_envs,
        out=folder / f"rows-{num_envs}",
        device="cpu",
    )


def make_policy(_):
    return to_the_goal
