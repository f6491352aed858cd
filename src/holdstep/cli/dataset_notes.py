"""Notes about a dataset, on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from holdstep.wrappers.record import Dataset


def print_note(console: Console, note: str | None) -> None:
    """Print a note, if there is one."""
    if note:
        console.print(f"note: {note}", markup=False, style="yellow", soft_wrap=True)


def print_pending(console: Console, *datasets: Dataset) -> None:
    """Say of which datasets not all episodes can be read, lest a tool's result pass for whole."""
    for dataset in datasets:
        print_note(console, dataset.pending)
