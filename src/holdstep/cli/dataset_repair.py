"""``holdstep dataset repair``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class Repair:
    """Bring a folder that a crash left behind in order: what was acknowledged ends up in its files.

    Where several processes have recorded, each one's folder is repaired, and the list of all their
    files is made anew. Nothing that was recorded is deleted: what is damaged is moved aside. The
    exit status is 1 if something that was acknowledged is gone.

    Example: holdstep dataset repair demos
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A folder that was recorded into, or the .hdf5 file that a run was to make."""

    def run(self) -> int:
        """Repair, and print what was done."""
        from rich.console import Console

        from holdstep.wrappers.record import finish_file
        from holdstep.wrappers.record.episode_journal import journal_of
        from holdstep.wrappers.record.folder import RecordingFolder
        from holdstep.wrappers.record.ranks import merge_manifests, recorded_ranks
        from holdstep.wrappers.record.repair import repair

        console = Console(emoji=False)
        if journal_of(self.path).is_dir():  # of the handler for Isaac Lab's own recorder
            with console.status(f"finishing {self.path}"):
                num_episodes = finish_file(str(self.path))
            console.print(
                f"{self.path}: {num_episodes} episodes, with those that were in its journal.",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            if not RecordingFolder.of(self.path).path.is_dir():
                return 0
        ranks = recorded_ranks(self.path)
        is_whole = True
        for path in ranks or [self.path]:
            with console.status(f"repairing {path}"):
                report = repair(path)
            about = f"{path.name}: {report}" if ranks else str(report)
            console.print(about, markup=False, highlight=False)
            is_whole = is_whole and report.is_whole
        if ranks:
            merge_manifests(self.path)
        return 0 if is_whole else 1
