"""A drawing of how far replays went from their recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from holdstep.extras import require

if TYPE_CHECKING:
    import os

    from holdstep.wrappers.record.tools.replay import ReplayedEpisode


def plot_replay(
    episodes: Sequence[ReplayedEpisode], path: str | os.PathLike[str], *, title: str = ""
) -> Path:
    """Draw how far each replay went from its recording, step by step.

    Args:
        episodes: what :func:`~holdstep.wrappers.record.tools.replay.replay` returned.
        path: of a PNG file; folders on the way are made.
        title: its first line.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure_class = require("matplotlib.figure", extra="plot", purpose="Drawing a replay").Figure
    path = Path(path)
    figure = figure_class(figsize=(12, 4), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, kind in zip(panels, ("state", "obs", "reward"), strict=True):
        curves = [getattr(episode, f"{kind}_error") for episode in episodes]
        for curve in curves:
            axes.plot(curve, color="C0", alpha=max(0.1, 1 / len(curves)), lw=1)
        together = np.concatenate(curves) if curves else np.empty(0)
        together = together[np.isfinite(together)]
        # Below this a logarithm would spread what is nothing but rounding.
        axes.set_yscale("symlog", linthresh=1e-6)
        axes.set_ylim(bottom=-3e-7)  # so that zero is seen
        largest = f"largest {together.max():.3g}" if together.size else "not recorded"
        axes.set_title(f"{kind}: {largest}", fontsize="medium")
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("largest difference from the recording")
    figure.suptitle(title, fontsize="medium", parse_math=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
