"""Plots of a training run: its reward curve, and a row that stands still."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdstep.extras import require

if TYPE_CHECKING:
    import torch

    from holdstep.policies.rsl_rl.run_dir import RunDir


def plot_reward_curve(run_dir: RunDir) -> Path:
    """Draw the mean return and the speed over env steps into ``reward_curve.png``.

    Args:
        run_dir: a run whose ``metrics.jsonl`` has at least one line.

    Returns:
        The file's path.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure_class = require(
        "matplotlib.figure", extra="plot", purpose="Drawing the reward curve"
    ).Figure
    metrics = run_dir.read_metrics()
    steps, total = [], 0
    for line in metrics:
        total += line["num_steps"]
        steps.append(total)
    # A Figure of its own, not pyplot: no window system, no global state.
    figure = figure_class(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    scored = [
        (step, line["mean_return"])
        for step, line in zip(steps, metrics, strict=True)
        if line["mean_return"] is not None
    ]
    axes.plot(*zip(*scored, strict=True), color="C0") if scored else None
    axes.set_xlabel("env steps (all rows)")
    axes.set_ylabel("mean return (last 100 episodes)", color="C0")
    axes.grid(alpha=0.3)
    speed = axes.twinx()
    speed.plot(steps, [line["steps_per_s"] for line in metrics], color="C7", alpha=0.5, lw=1)
    speed.set_ylabel("env steps/s", color="C7")
    speed.set_ylim(bottom=0)
    axes.set_title(run_dir.path.parent.name)
    file = run_dir.path / "reward_curve.png"
    figure.savefig(file, dpi=120)
    return file


def plot_suspended_row(
    run_dir: RunDir, obs: torch.Tensor, active: torch.Tensor, *, row: int, other: int
) -> Path:
    """Draw what two rows observe, one of them suspended for a while, into ``suspended_row.png``.

    Args:
        run_dir: where to.
        obs: observations after each step, ``[steps, N, num_obs]``; drawn are the four numbers that
            vary most in row ``other``.
        active: ``info["active"]`` of each step, bool ``[steps, N]``.
        row: the one that is suspended for a while.
        other: one that is not.

    Returns:
        The file's path.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure_class = require(
        "matplotlib.figure", extra="plot", purpose="Drawing the suspended row"
    ).Figure
    figure = figure_class(figsize=(8, 5), layout="constrained")
    shown = obs[:, other].std(dim=0).topk(min(4, obs.shape[2])).indices.sort().values.tolist()
    suspended = (~active[:, row]).cpu()
    for axes, env_id in zip(figure.subplots(2, 1, sharex=True), (row, other), strict=True):
        for index in shown:
            axes.plot(obs[:, env_id, index].cpu().numpy(), label=f"observation {index}")
        axes.set_ylabel(f"row {env_id}")
        axes.grid(alpha=0.3)
        axes.fill_between(
            range(len(suspended)),
            0,
            1,
            where=suspended.numpy(),
            transform=axes.get_xaxis_transform(),
            color="C7",
            alpha=0.2,
            label=f"row {row} is suspended",
        )
    axes.set_xlabel("steps of the batch")
    axes.legend(fontsize="small", ncols=2, loc="best")
    figure.suptitle(run_dir.path.parent.name)
    file = run_dir.path / "suspended_row.png"
    figure.savefig(file, dpi=120)
    return file
