"""The table that ``--live`` shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


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
    from rich.console import Console

    from holdstep.monitor import LiveTable, watch

    with watch(stack, [LiveTable(Console(stderr=True))], every_s=0.5):
        yield
