"""``holdstep dataset info``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from rich.table import Table

    from holdstep.wrappers.record.tools.summary import Summary


@dataclass
class Info:
    """Describe a dataset: its episodes, how they ended, and what was recorded of each step.

    Example: holdstep dataset info demos
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A folder that was recorded into, or an .hdf5 file of Isaac Lab's, robomimic's or holdstep's
    layout."""

    def run(self) -> int:
        """Read it, and print it."""
        from rich.console import Console

        from holdstep.cli.dataset_notes import print_note
        from holdstep.cli.dataset_progress import episode_progress
        from holdstep.wrappers.record import Dataset
        from holdstep.wrappers.record.tools.summary import summarize

        console = Console(emoji=False)
        with (
            Dataset(self.path) as dataset,
            episode_progress(console, f"reading {self.path}", len(dataset)) as step,
        ):
            summary = summarize(dataset, on_episode=step)
        console.print(_numbers(summary))
        if summary.shapes:
            console.print(_arrays(summary))
        print_note(console, summary.pending)
        return 0


def _numbers(summary: Summary) -> Table:
    import numpy as np
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right", overflow="fold")
    table.add_row("env", str(summary.env_args.get("env_name") or "not known"))
    table.add_row("files", f"{summary.num_files} ({summary.num_bytes / 1e6:.1f} MB)")
    table.add_row("episodes", str(len(summary.lengths)))
    table.add_row("steps", str(summary.lengths.sum()))
    if len(summary.lengths):
        low, mean, high = summary.lengths.min(), summary.lengths.mean(), summary.lengths.max()
        table.add_row(r"length \[steps]", f"{mean:.1f} ({low} to {high})")
        table.add_row("ended", ", ".join(f"{how} {n}" for how, n in sorted(summary.ended.items())))
    if np.isfinite(summary.returns).any():
        returns = summary.returns[np.isfinite(summary.returns)]
        table.add_row(
            "return", f"{returns.mean():.4g} ({returns.min():.4g} to {returns.max():.4g})"
        )
    if summary.success_rate is not None:
        known = int((summary.success >= 0).sum())
        table.add_row("success", f"{summary.success_rate:.3f} of {known}")
    return table


def _arrays(summary: Summary) -> Table:
    from rich.table import Table

    table = Table("array", "of one step", "dtype", title="of each episode")
    for path, (shape, dtype) in sorted(summary.shapes.items()):
        table.add_row(path, str(shape).replace(",)", ")"), dtype)
    return table
