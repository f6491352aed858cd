"""Train a task with rsl_rl, from its id to a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from holdstep.envs.overrides import apply_overrides
from holdstep.envs.registry import make
from holdstep.errors import CheckpointError, ConfigError, HoldstepError
from holdstep.policies.rsl_rl.checkpoint import find_checkpoint, latest_checkpoint
from holdstep.policies.rsl_rl.run_dir import RunDir
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


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What to train, and how.

    Attributes:
        env_id: task id, such as ``mjlab:Mjlab-Cartpole-Balance``.
        num_envs: rows of each process.
        device: ``"cpu"``, ``"cuda:0"``; None picks this process's GPU, or the CPU without one.
        seed: seed of the env, the networks and the sampling (each rank adds its number).
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
        run_dir: its folder (rank 0's; other ranks write nothing).
        checkpoint: the last checkpoint, None on ranks other than 0.
        iterations: every iteration of this run.
    """

    run_dir: RunDir | None
    checkpoint: Path | None
    iterations: tuple[Iteration, ...]


def train(
    settings: TrainingSettings,
    *,
    on_start: Callable[[int], None] | None = None,
    on_iteration: Callable[[Iteration], None] | None = None,
) -> TrainingResult:
    """Train a task with its own rsl_rl configuration; under ``torchrun``, with all ranks.

    Args:
        settings: what to train.
        on_start: called with the number of iterations once everything is built.
        on_iteration: called after each iteration.

    Raises:
        ConfigError: a setting can't be used.
        CheckpointError: the checkpoint to resume from can't be used.
    """
    from holdstep.envs.views.rsl_rl import RslRlVecEnv

    rank = int(os.getenv("RANK", "0"))
    seed = settings.seed + rank
    # A bad file is reported before a simulator is built, which takes long.
    resume = (
        None
        if settings.resume is None
        else find_checkpoint(settings.resume, env_id=settings.env_id)
    )
    torch.manual_seed(seed)
    env = make(
        settings.env_id,
        num_envs=settings.num_envs,
        device=device_of_rank(settings.device),
        seed=seed,
        **settings.env_overrides,
    )
    try:
        config = registered_config(settings.env_id, env)
        config["seed"] = seed
        config["run_name"] = settings.run_name
        apply_overrides(config, settings.agent_overrides)
        decide_obs_groups(config, env)
        check_config(config)
        iterations = (
            settings.iterations if settings.iterations is not None else config["max_iterations"]
        )
        if iterations < 1:
            raise ConfigError(f"iterations must be at least 1, got {iterations}.")
        run_dir = None
        if rank == 0:
            run_dir = RunDir.create(settings.log_root, config["experiment_name"], settings.run_name)
            run_dir.write_params(_run_params(settings, resume), config)
        done: list[Iteration] = []

        def record(iteration: Iteration) -> None:
            done.append(iteration)
            if run_dir is not None:
                run_dir.append_metrics(iteration)
            if on_iteration is not None:
                on_iteration(iteration)

        view = RslRlVecEnv(env, clip_actions=config.get("clip_actions"))
        try:
            runner = make_runner(
                view,
                config,
                base=runner_class(settings.env_id),
                log_dir=str(run_dir.path) if run_dir is not None else None,
                on_iteration=record,
                quiet=settings.quiet,
            )
        except HoldstepError:
            raise
        except REFUSALS as error:
            raise ConfigError(
                f"rsl_rl can't train {settings.env_id!r} with these settings: {describe(error)}"
            ) from error
        if resume is not None:
            with explain_misfit(resume, settings.env_id):
                runner.load(str(resume))
            if not isinstance(runner.current_learning_iteration, int):
                raise CheckpointError(
                    f"{resume} doesn't say how many iterations it had: its `iter` is "
                    f"{runner.current_learning_iteration!r}."
                )
            # The checkpoint has the number of the last iteration that was done; rsl_rl would give
            # the next one the same number.
            runner.current_learning_iteration += 1
        if on_start is not None:
            on_start(iterations)
        runner.learn(iterations, init_at_random_ep_len=True)
    finally:
        env.close()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    checkpoint = latest_checkpoint(run_dir.path) if run_dir is not None else None
    return TrainingResult(run_dir=run_dir, checkpoint=checkpoint, iterations=tuple(done))


def device_of_rank(device: str | None) -> str | None:
    """The device that was named, else this ``torchrun`` rank's own GPU, else None."""
    if device is None and torch.cuda.is_available():
        return f"cuda:{os.getenv('LOCAL_RANK', '0')}"
    return device


def _run_params(settings: TrainingSettings, resume: Path | None) -> dict[str, Any]:
    return {
        "env_id": settings.env_id,
        "num_envs": settings.num_envs,
        "seed": settings.seed,
        "device": settings.device,
        "world_size": int(os.getenv("WORLD_SIZE", "1")),
        "resume": None if resume is None else str(resume),
        "env_overrides": dict(settings.env_overrides),
        "agent_overrides": dict(settings.agent_overrides),
    }
