"""An rsl_rl runner that loads checkpoints safely, trains on CPUs too, and reports iterations."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

import torch

from holdstep.distributed import Rank, init_process_group
from holdstep.errors import CheckpointError, HoldstepError
from holdstep.policies.rsl_rl.active_steps import ActiveSteps
from holdstep.policies.rsl_rl.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from holdstep.envs.views.rsl_rl import RslRlVecEnv

    _Runner = Any
else:
    _Runner = object


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """What one iteration of training gave.

    Attributes:
        index: number of the iteration, from 0 over all resumed runs.
        mean_return: mean of the last 100 episodes' summed rewards, None before one has ended.
        mean_episode_length: their mean length [env steps], None before one has ended.
        collect_s: time spent stepping the env [s].
        learn_s: time spent updating the policy [s].
        num_steps: env steps that all rows took in this iteration, on all ranks if they all took as
            many; rows that were suspended took none.
    """

    index: int
    mean_return: float | None
    mean_episode_length: float | None
    collect_s: float
    learn_s: float
    num_steps: int

    @property
    def steps_per_s(self) -> float:
        """Env steps of all rows per second of collection and learning."""
        return self.num_steps / (self.collect_s + self.learn_s)


class _HoldstepRunner(_Runner):  # type: ignore[misc]  # rsl_rl is untyped
    """What holdstep changes about a runner; mixed in before the runner's own class."""

    _is_alone: ClassVar[bool] = False

    def load(
        self,
        path: str,
        load_cfg: dict[str, Any] | None = None,
        strict: bool = True,
        map_location: str | None = None,
    ) -> Any:
        """Load a checkpoint through :func:`load_checkpoint`, then as the runner itself does.

        The runner gets a copy made of the data that came through, in memory: its own ``torch.load``
        would unpickle anything, and the file might change between a check and that load.
        """
        plain = io.BytesIO()
        torch.save(load_checkpoint(path, device="cpu"), plain)
        plain.seek(0)
        infos = super().load(
            plain, load_cfg=load_cfg, strict=strict, map_location=map_location or self.device
        )
        if load_cfg is None or load_cfg.get("optimizer"):
            # rsl_rl 5.0 goes on adapting its own number, which would still be the initial one.
            self.alg.learning_rate = self.alg.optimizer.param_groups[0]["lr"]
        return infos

    def save(self, path: str, infos: dict[str, Any] | None = None) -> None:
        """Save a checkpoint as the runner itself does; under its name, it is whole at any time."""
        draft = f"{path}.tmp"
        with _held_back_uploads(self.logger) as uploads:
            super().save(draft, infos)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
        for iteration in uploads:
            self.logger.save_model(path, iteration)

    def _configure_multi_gpu(self) -> None:
        """rsl_rl insists on NCCL, and on a group that a restart by torchrun may fail to join."""
        rank = Rank.of_environment()
        if rank.world_size == 1 or self._is_alone:
            self.is_distributed = False
            self.gpu_world_size, self.gpu_global_rank, self.gpu_local_rank = 1, 0, 0
            self.cfg["multi_gpu"] = None
            return
        on_cpu = str(self.device).startswith("cpu")
        init_process_group(rank, backend="gloo" if on_cpu else "nccl")
        if not on_cpu:
            torch.cuda.set_device(self.device)
        self.is_distributed = True
        self.gpu_world_size = rank.world_size
        self.gpu_global_rank = rank.number
        self.gpu_local_rank = rank.local_number
        self.cfg["multi_gpu"] = {
            "global_rank": self.gpu_global_rank,
            "local_rank": self.gpu_local_rank,
            "world_size": self.gpu_world_size,
        }


def make_runner(
    env: RslRlVecEnv,
    config: dict[str, Any],
    *,
    base: type,
    log_dir: str | None = None,
    on_iteration: Callable[[Iteration], None] | None = None,
    quiet: bool = False,
    alone: bool = False,
) -> Any:
    """Construct a runner with holdstep's changes to it.

    Args:
        env: the view to train on.
        config: the runner's configuration; rsl_rl changes it, so a copy is handed on.
        base: the runner class, from :func:`~holdstep.policies.rsl_rl.task_config.runner_class`.
        log_dir: where tensorboard's events and checkpoints go; None for no logging.
        on_iteration: called after each iteration. On ranks other than 0, and without a
            ``log_dir``, rsl_rl keeps no statistics of episodes.
        quiet: keep what rsl_rl prints off the terminal.
        alone: it learns nothing together with other ranks, and need not meet them.

    Returns:
        An instance of a subclass of ``base``.
    """
    import copy

    runner_type = type(f"Holdstep{base.__name__}", (_HoldstepRunner, base), {"_is_alone": alone})
    with _silenced(quiet):
        runner = runner_type(env, copy.deepcopy(config), log_dir, str(env.device))
    steps = ActiveSteps(runner.logger)
    if on_iteration is not None or quiet:
        _report_iterations(runner, on_iteration, quiet, steps)
    return runner


REFUSALS = (RuntimeError, LookupError, ValueError, TypeError, AttributeError, ImportError)
"""What rsl_rl and torch raise on settings and weights that don't fit: they check little."""


@contextlib.contextmanager
def explain_misfit(checkpoint: str | Path, env_id: str) -> Iterator[None]:
    """Turn what rsl_rl and torch raise while a checkpoint is loaded into a ``CheckpointError``."""
    try:
        yield
    except HoldstepError:
        raise
    except REFUSALS as error:
        raise CheckpointError(
            f"{checkpoint} doesn't fit the policy of {env_id!r}: {describe(error)} Was it trained "
            "on another task, or with other network settings?"
        ) from error


def describe(error: Exception) -> str:
    """An error as one sentence; a ``KeyError``, for one, is only a name."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{'' if text.endswith(('.', '!', '?')) else '.'}"


def _report_iterations(
    runner: Any,
    on_iteration: Callable[[Iteration], None] | None,
    quiet: bool,
    steps: ActiveSteps,
) -> None:
    logger = runner.logger
    log = logger.log

    def log_and_report(**stats: Any) -> None:
        with _silenced(quiet):
            log(**stats)
        if on_iteration is None:
            return
        returns, lengths = list(logger.rewbuffer), list(logger.lenbuffer)
        on_iteration(
            Iteration(
                index=stats["it"],
                mean_return=sum(returns) / len(returns) if returns else None,
                mean_episode_length=sum(lengths) / len(lengths) if lengths else None,
                collect_s=stats["collect_time"],
                learn_s=stats["learn_time"],
                num_steps=steps.take() * runner.gpu_world_size,
            )
        )

    # An attribute of this runner's own logger; the library's class stays as it is.
    logger.log = log_and_report


@contextlib.contextmanager
def _held_back_uploads(logger: Any) -> Iterator[list[int]]:
    """Collect the iterations whose checkpoints are to be uploaded: their files have no name yet."""
    iterations: list[int] = []
    logger.save_model = lambda path, iteration: iterations.append(iteration)
    try:
        yield iterations
    finally:
        del logger.save_model  # this logger's own attribute, which hid the method


def _silenced(quiet: bool) -> contextlib.AbstractContextManager[TextIO | None]:
    if quiet:
        return contextlib.redirect_stdout(io.StringIO())
    return contextlib.nullcontext()
