"""The table that ``--live`` shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.monitor import LiveTable


@contextlib.contextmanager
def live_table(stack: object, *, shown: bool) -> Iterator[None]:
    """Show what a stack does, twice a second, while it is stepped.

    Args:
        stack: an env, or what holds one.
        shown: False does nothing.
    """
    if not shown:
        yield
        return
    with watched(stack, start_table()):
        yield


def start_table(waiting: str = "") -> LiveTable:
    """A table where progress bars are; to be closed, or handed to :func:`watched`.

    Args:
        waiting: a line that stands there until there is a table.
    """
    from rich.console import Console

    from holdstep.monitor import LiveTable

    return LiveTable(Console(stderr=True), waiting=waiting)


def watched(stack: object, table: LiveTable) -> contextlib.AbstractContextManager[None]:
    """Redraw a table twice a second while a stack is stepped, and close it at the end."""
    from holdstep.monitor import watch

    return watch(stack, [table], every_s=0.5)
