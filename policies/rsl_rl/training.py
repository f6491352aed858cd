"""Train a task with rsl_rl, from its id to a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from holdstep.distributed import Rank, agreed
from holdstep.envs.overrides import apply_overrides
from holdstep.envs.registry import make
from holdstep.errors import ConfigError, HoldstepError
from holdstep.policies.rsl_rl.checkpoint import find_checkpoint, latest_checkpoint
from holdstep.policies.rsl_rl.masking import mask_learning
from holdstep.policies.rsl_rl.run_dir import RunDir
from holdstep.policies.rsl_rl.run_start import begin_run, earlier_start
from holdstep.policies.rsl_rl.runner import (
    REFUSALS,
    Iteration,
    describe,
    explain_misfit,
    make_runner,
)
from holdstep.policies.rsl_rl.task_config import (
    check_config,
    decide_obs_groups,
    registered_config,
    runner_class,
)

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What to train, and how.

    Attributes:
        env_id: task id, such as ``mjlab:Mjlab-Cartpole-Balance``.
        num_envs: rows of each process.
        device: ``"cpu"``, ``"cuda:0"``; None picks this process's GPU, or the CPU without one.
        seed: seed of the env, the networks and the sampling. It is the first rank's; others, and
            restarts by ``torchrun``, have seeds of their own.
        iterations: iterations to train for; None takes the task's own number.
        log_root: the run's folder is made under ``log_root/experiment``.
        run_name: appended to the run's folder.
        resume: a checkpoint, or a run's folder (its latest one), to go on from; of the same task.
        env_overrides: settings of the env by dotted path.
        agent_overrides: settings of the runner by dotted path.
        quiet: keep rsl_rl's own printing off the terminal.
    """

    env_id: str
    num_envs: int = 64
    device: str | None = None
    seed: int = 42
    iterations: int | None = None
    log_root: str | Path = Path("runs")
    run_name: str = ""
    resume: str | Path | None = None
    env_overrides: Mapping[str, Any] = field(default_factory=dict)
    agent_overrides: Mapping[str, Any] = field(default_factory=dict)
    quiet: bool = True


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training run left behind.

    Attributes:
        run_dir: its folder, the same for all ranks; the first one writes it.
        checkpoint: the last checkpoint, in that folder.
        iterations: every iteration that this process has done.
    """

    run_dir: RunDir
    checkpoint: Path
    iterations: tuple[Iteration, ...]


def train(
    settings: TrainingSettings,
    *,
    wrap: Callable[[TorchVectorEnv], TorchVectorEnv] | None = None,
    on_start: Callable[[int], None] | None = None,
    on_iteration: Callable[[Iteration], None] | None = None,
) -> TrainingResult:
    """Train a task with its own rsl_rl configuration; under ``torchrun``, with all ranks.

    Where the stack can suspend rows, rsl_rl's PPO is replaced by
    :class:`~holdstep.policies.rsl_rl.MaskedPPO`.

    Every rank steps an env of its own and learns the same policy: rsl_rl averages the gradients,
    over NCCL between GPUs, over gloo on CPUs. When ``torchrun`` restarts its processes, since one
    has died, training goes on in the same folder, from the last checkpoint there.

    Args:
        settings: what to train.
        wrap: puts wrappers around the env that was made, and returns the stack to train on.
        on_start: called with the number of iterations once everything is built.
        on_iteration: called after each iteration.

    Raises:
        ConfigError: a setting can't be used.
        CheckpointError: the checkpoint to resume from can't be used.
    """
    from holdstep.envs.views.rsl_rl import RslRlVecEnv

    rank = Rank.of_environment()
    device = _device_of(rank, settings.device)
    run = _run_params(settings, rank)
    earlier = earlier_start(settings.log_root, run, rank)
    # A restart must not begin with the very episodes that the run began with.
    so_far = [0 if earlier is None else earlier.own_iterations, rank.num_restarts]
    seed = rank.seed(settings.seed, *(so_far if any(so_far) else []))
    # A bad file is reported before a simulator is built, which takes long. A job that goes on does
    # so from checkpoints of its own, whatever else it was told to begin with.
    resume = (
        None
        if settings.resume is None or earlier is not None
        else find_checkpoint(settings.resume, env_id=settings.env_id)
    )
    had_group = torch.distributed.is_available() and torch.distributed.is_initialized()
    torch.manual_seed(seed)
    env = make(
        settings.env_id,
        num_envs=settings.num_envs,
        device=device,
        seed=seed,
        **settings.env_overrides,
    )
    try:
        if wrap is not None:
            env = wrap(env)
        config = registered_config(settings.env_id, env)
        config["seed"] = seed
        config["run_name"] = settings.run_name
        apply_overrides(config, settings.agent_overrides)
        decide_obs_groups(config, env)
        check_config(config)
        mask_learning(config, env)
        iterations = (
            settings.iterations if settings.iterations is not None else config["max_iterations"]
        )
        if iterations < 1:
            raise ConfigError(f"iterations must be at least 1, got {iterations}.")
        start = None
        if rank.is_first and earlier is not None:
            start = earlier
            start.run_dir.cut_metrics(start.first_iteration)
        elif rank.is_first:
            start = begin_run(
                settings.log_root, run, config, resume=resume, num_iterations=iterations
            )
        done: list[Iteration] = []

        def record(iteration: Iteration) -> None:
            done.append(iteration)
            if rank.is_first and start is not None:
                start.run_dir.append_metrics(iteration)
            if on_iteration is not None:
                on_iteration(iteration)

        view = RslRlVecEnv(env, clip_actions=config.get("clip_actions"))
        try:
            runner = make_runner(
                view,
                config,
                base=runner_class(settings.env_id),
                log_dir=None if start is None else str(start.run_dir.path),
                on_iteration=record,
                quiet=settings.quiet,
            )
        except HoldstepError:
            raise
        except REFUSALS as error:
            raise ConfigError(
                f"rsl_rl can't train {settings.env_id!r} with these settings: {describe(error)}"
            ) from error
        # From here on, the ranks can talk: what the first one found is what all of them do.
        start = agreed(start)
        assert start is not None
        if start.checkpoint is not None:
            with explain_misfit(start.checkpoint, settings.env_id):
                runner.load(str(start.checkpoint))
        # A checkpoint has the number of the last iteration that was done; rsl_rl would give the
        # next one the same number.
        runner.current_learning_iteration = start.first_iteration
        if on_start is not None:
            on_start(start.num_iterations)
        if start.num_iterations:
            runner.learn(start.num_iterations, init_at_random_ep_len=True)
        checkpoint = agreed(latest_checkpoint(start.run_dir.path) if rank.is_first else Path())
    finally:
        env.close()
        if torch.distributed.is_initialized() and not had_group:
            torch.distributed.destroy_process_group()
    return TrainingResult(run_dir=start.run_dir, checkpoint=checkpoint, iterations=tuple(done))


def _device_of(rank: Rank, named: str | None) -> str | None:
    device = rank.device(named)
    if rank.world_size > 1 and device is not None and device.startswith("cuda"):
        own = rank.device("cuda")
        if device != own:
            raise ConfigError(
                f"Rank {rank.number} of {rank.world_size} can't train on {device}: NCCL needs a "
                f"GPU for each rank, and this one's is {own}. Leave the device out, or say 'cuda'."
            )
    return device


def _run_params(settings: TrainingSettings, rank: Rank) -> dict[str, Any]:
    return {
        "env_id": settings.env_id,
        "num_envs": settings.num_envs,
        "seed": settings.seed,
        "device": settings.device,
        "world_size": rank.world_size,
        "run_name": settings.run_name,
        "iterations": settings.iterations,
        "env_overrides": dict(settings.env_overrides),
        "agent_overrides": dict(settings.agent_overrides),
    }
