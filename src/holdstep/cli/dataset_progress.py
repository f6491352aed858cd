"""A progress bar over the episodes of a dataset."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextlib.contextmanager
def episode_progress(
    console: Console, what: str, total: int | None = None
) -> Iterator[Callable[[], None]]:
    """Show a bar within the block, and give what is to be called after each episode.

    Args:
        console: to show it on; nothing is shown where that is no terminal.
        what: is being done.
        total: episodes, or None where that is not known.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
