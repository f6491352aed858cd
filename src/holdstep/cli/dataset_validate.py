"""``holdstep dataset validate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class Validate:
    """Read a dataset whole, and list everything that is wrong with it: damage, and broken rules.

    The exit status is 1 if there is anything.

    Example: holdstep dataset validate demos
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A folder that was recorded into, or an .hdf5 file."""

    def run(self) -> int:
        """Check, and print what was found."""
        from rich.console import Console
        from rich.table import Table

        from holdstep.cli.dataset_notes import print_note
        from holdstep.cli.dataset_progress import episode_progress
        from holdstep.wrappers.record.tools.validate import validate

        console = Console(emoji=False)
        with episode_progress(console, f"checking {self.path}") as step:
            found = validate(self.path, on_episode=step)
        if found.problems:
            table = Table("where", "problem")
            table.columns[0].overflow = table.columns[1].overflow = "fold"
            for problem in found.problems:
                table.add_row(problem.where, problem.what)
            console.print(table)
        print_note(console, found.pending)
        read = f"{found.num_episodes} episodes in {found.num_files} files"
        console.print(
            f"{read}: {len(found.problems) or 'no'} problems", markup=False, highlight=False
        )
        return 1 if found.problems else 0
