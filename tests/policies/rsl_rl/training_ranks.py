"""What ranks that train do in the tests of that."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import torch
from rsl_rl.runners import OnPolicyRunner  # before forks, which then need not import it
from torch.utils.tensorboard import SummaryWriter  # noqa: F401

from holdstep.distributed import Rank, process_group
from holdstep.errors import SuspensionError
from holdstep.policies.rsl_rl import MaskedPPO, TrainingSettings, train, training
from tests.policies.rsl_rl.tapes import Tape, collect, make_algorithm

AGENT = {"num_steps_per_env": 8, "save_interval": 2}


def settings(folder, **changes):
    fixed = {"env_id": "holdstep:CartPole", "num_envs": 4, "device": "cpu", "iterations": 6}
    return TrainingSettings(**fixed, log_root=Path(folder), agent_overrides=AGENT, **changes)


def digest(tensors):
    return hashlib.sha1(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def train_and_die_once(folder):
    """Train; rank 1 dies in iteration 3 of the first start. What this rank has come to."""
    rank = Rank.of_environment()
    runners = []
    make_runner = training.make_runner

    def kept(*args, **options):
        runners.append(make_runner(*args, **options))
        return runners[-1]

    def die(iteration):
        if iteration.index == 3 and rank.number == 1 and rank.num_restarts == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    training.make_runner = kept
    result = train(settings(folder), on_iteration=die)
    (runner,) = runners
    assert isinstance(runner, OnPolicyRunner)
    optimizer = runner.alg.optimizer.state_dict()["state"]
    return {
        "weights": digest(p.detach() for p in runner.alg.actor.mlp.parameters()),
        "moments": digest(state["exp_avg"] for state in optimizer.values()),
        "obs": digest(runner.env.get_observations().values()),
        "run_dir": str(result.run_dir.path),
        "checkpoint": str(result.checkpoint),
        "iterations": [iteration.index for iteration in result.iterations],
        "num_steps": result.iterations[-1].num_steps,
        "num_restarts": rank.num_restarts,
    }


def learn_from_nothing_on_one_rank(_):
    """A rollout in which rows of the first rank advance, and none of the second one; its error."""
    rank = Rank.of_environment()
    tape = Tape(3, 10)
    ranks = {"global_rank": rank.number, "local_rank": rank.number, "world_size": 2}
    masked = make_algorithm(MaskedPPO, tape, 4, multi_gpu_cfg=ranks)
    masks = torch.full((4, 3), rank.is_first)
    with process_group(rank):
        try:
            collect(masked, tape, masks, torch.zeros(3, dtype=torch.int64))
        except SuspensionError as error:
            return str(error)
    return "nothing was refused"
