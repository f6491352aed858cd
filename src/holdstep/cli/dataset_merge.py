"""``holdstep dataset merge``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class Merge:
    """Put the episodes of several datasets into one .hdf5 file, numbered anew from demo_0.

    All must be of one env, with the same arrays. The sources stay as they are.

    Example: holdstep dataset merge monday tuesday/demos.hdf5 --out week.hdf5
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders that were recorded into, or .hdf5 files, in the order of their episodes."""

    out: Path
    """The new file; it is never written over what exists."""

    append: bool = False
    """The file exists: put the episodes behind those that it has."""

    success: Literal["all", "succeeded", "failed"] = "all"
    """Only episodes that succeeded, or only those that did not."""

    compression: Literal["none", "lz4", "zstd", "gzip"] = "none"
    """How arrays are compressed; lz4 and zstd need the extra 'compression', for reading too."""

    def run(self) -> int:
        """Merge, and print what was written."""
        from contextlib import ExitStack

        from rich.console import Console

        from holdstep.cli.dataset_notes import print_pending
        from holdstep.cli.dataset_progress import episode_progress
        from holdstep.cli.paths import print_path
        from holdstep.errors import ConfigError
        from holdstep.wrappers.record import Dataset
        from holdstep.wrappers.record.tools.merge import merge

        if not self.paths:
            raise ConfigError("Name the folders or files to merge.")
        console = Console(emoji=False)
        with ExitStack() as stack:
            sources = [
                stack.enter_context(Dataset(path, success=self.success)) for path in self.paths
            ]
            total = sum(map(len, sources))
            step = stack.enter_context(episode_progress(console, f"writing {self.out}", total))
            merge(
                sources,
                self.out,
                append=self.append,
                compression=self.compression,
                on_episode=step,
            )
        print_pending(console, *sources)
        print_path(self.out, console, f"{total} episodes")
        return 0
