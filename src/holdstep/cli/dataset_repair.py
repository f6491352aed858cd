"""``holdstep dataset repair``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class Repair:
    """Bring a folder that a crash left behind in order: what was acknowledged ends up in its files.

    Nothing that was recorded is deleted: what is damaged is moved aside. The exit status is 1 if
    something that was acknowledged is gone.

    Example: holdstep dataset repair demos
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A folder that was recorded into."""

    def run(self) -> int:
        """Repair, and print what was done."""
        from rich.console import Console

        from holdstep.wrappers.record.repair import repair

        console = Console()
        with console.status(f"repairing {self.path}"):
            report = repair(self.path)
        console.print(str(report), markup=False, highlight=False)
        return 0 if report.is_whole else 1
