"""What was written, on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def print_path(path: Path, console: Console, what: str) -> None:
    """Print a path with what is there, and its size.

    Args:
        path: a file or a folder.
        console: to print on.
        what: is there, such as ``"12 episodes"``.
    """
    files = path.rglob("*") if path.is_dir() else (path,)
    megabytes = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    console.print(
        f"{path}: {what}, {megabytes:.1f} MB", markup=False, soft_wrap=True, highlight=False
    )
