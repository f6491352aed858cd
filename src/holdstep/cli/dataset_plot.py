"""``holdstep dataset plot``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class Plot:
    """Draw lengths, returns and successes of the episodes, and their actions over time.

    Example: holdstep dataset plot demos --png demos.png
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A folder that was recorded into, or an .hdf5 file."""

    png: Path | None = None
    """Of the picture; by default next to PATH."""

    success: Literal["all", "succeeded", "failed"] = "all"
    """Only episodes that succeeded, or only those that did not."""

    def run(self) -> int:
        """Draw, and print where."""
        from rich.console import Console

        from holdstep.cli.dataset_notes import print_pending
        from holdstep.cli.dataset_progress import episode_progress
        from holdstep.cli.paths import print_path
        from holdstep.wrappers.record import Dataset
        from holdstep.wrappers.record.tools.plot import plot_dataset

        console = Console(emoji=False)
        png = self.png or self.path.with_name(f"{self.path.stem or 'dataset'}.png")
        with Dataset(self.path, success=self.success) as dataset:
            with episode_progress(console, f"reading {self.path}", len(dataset)) as step:
                plot_dataset(dataset, png, on_episode=step)
            print_pending(console, dataset)
            print_path(png, console, f"{len(dataset)} episodes")
        return 0
