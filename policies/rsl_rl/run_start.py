"""Where a training begins: in a new run, or in the one that a restart by ``torchrun`` goes on with.

When one of its processes dies, ``torchrun --max-restarts`` starts all of them anew, with the same
arguments. What they were training is found again by the job's name in the run's settings.

How often a process was started says little: of several machines, each agent counts the failures of
its own processes only, so that it starts the others anew with a count of 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdstep.distributed import Rank, has_run_id, job_name
from holdstep.errors import CheckpointError
from holdstep.policies.rsl_rl.checkpoint import checkpoints_of, load_checkpoint
from holdstep.policies.rsl_rl.run_dir import RunDir, as_plain

_MAY_CHANGE = frozenset({"world_size", "resume", "until_iteration"})
"""Of a job that is restarted: it may have lost a machine, and its own run may be the newest now."""


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """Where a training begins.

    Attributes:
        run_dir: the folder that everything is written to.
        checkpoint: to go on from, or None.
        first_iteration: number of the first iteration that is to be done.
        num_iterations: how many are to be done; 0 where the job had finished this run.
    """

    run_dir: RunDir
    checkpoint: Path | None
    first_iteration: int
    num_iterations: int

    @property
    def own_iterations(self) -> int:
        """The iterations behind it, if it goes on from a checkpoint of this very run; else 0."""
        is_own = self.checkpoint is not None and self.checkpoint.parent == self.run_dir.path
        return self.first_iteration if is_own else 0


def earlier_start(root: str | Path, run: Mapping[str, Any], rank: Rank) -> RunStart | None:
    """What this job, with the same settings, has begun before; changes nothing.

    Any rank may ask, before a simulator is built. Others than the first may already see the folder
    that the first one has just made, but no checkpoint in it: those wait for all ranks.

    Args:
        root: runs are in ``root/experiment``.
        run: the settings that make a run what it is.
        rank: this process.

    Returns:
        Of several runs the one that has got furthest; None where there is none.
    """
    job = job_name()
    if job is None or not (rank.num_restarts or has_run_id()):
        return None
    wanted = _identity(as_plain(dict(run) | {"job": job}))
    starts = []
    for folder in sorted(Path(root).glob("*/*/"), key=lambda path: path.name, reverse=True):
        try:
            found = RunDir(folder).read_run()
        except CheckpointError:  # killed while it wrote that
            continue
        if found is not None and _identity(found) == wanted:
            starts.append(_going_on(RunDir(folder), found))
    return max(starts, key=lambda start: start.first_iteration, default=None)


def begin_run(
    root: str | Path,
    run: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    resume: Path | None,
    num_iterations: int,
) -> RunStart:
    """Make a new run's folder.

    Called by the first rank only, which tells the others.

    Args:
        root: the run's folder is made under ``root/experiment``.
        run: the settings that make a run what it is.
        config: the runner's configuration.
        resume: a checkpoint that the job was told to go on from.
        num_iterations: of the whole job.

    Raises:
        CheckpointError: the checkpoint doesn't say how many iterations it had.
    """
    first = 0 if resume is None else next_iteration(resume)
    run = dict(run) | {
        "resume": None if resume is None else str(resume),
        "job": job_name(),
        "until_iteration": first + num_iterations,
    }
    run_dir = RunDir.create(root, config["experiment_name"], run["run_name"])
    run_dir.write_params(run, config)
    return RunStart(
        run_dir=run_dir, checkpoint=resume, first_iteration=first, num_iterations=num_iterations
    )


def next_iteration(checkpoint: Path) -> int:
    """The number of the iteration after the last one that a checkpoint has behind it.

    Raises:
        CheckpointError: it doesn't say.
    """
    last = load_checkpoint(checkpoint).get("iter")
    if not isinstance(last, int):
        raise CheckpointError(
            f"{checkpoint} doesn't say how many iterations it had: its `iter` is {last!r}."
        )
    return last + 1


def _identity(run: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in run.items() if key not in {*_MAY_CHANGE, "versions"}}


def _going_on(run_dir: RunDir, run: Mapping[str, Any]) -> RunStart:
    given = [Path(run["resume"])] if run["resume"] is not None else []
    checkpoint = _first_whole([*reversed(checkpoints_of(run_dir.path)), *given])
    first = 0 if checkpoint is None else next_iteration(checkpoint)
    return RunStart(
        run_dir=run_dir,
        checkpoint=checkpoint,
        first_iteration=first,
        num_iterations=max(0, run["until_iteration"] - first),
    )


def _first_whole(checkpoints: list[Path]) -> Path | None:
    """The first that can be read: the newest one may have been cut short in the writing."""
    for checkpoint in checkpoints:
        try:
            next_iteration(checkpoint)
        except CheckpointError:
            continue
        return checkpoint
    return None
