"""The reward curve of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdstep.extras import require

if TYPE_CHECKING:
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
