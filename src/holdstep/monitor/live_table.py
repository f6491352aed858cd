"""Statistics of a stack as a table in the terminal that is kept up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from holdstep.monitor.stack_stats import StackStats


class LiveTable:
    """A sink of :func:`~holdstep.monitor.watch` that draws a table and redraws it in place.

    Args:
        console: where; the terminal by default. Where that is none, the last table is printed.
        waiting: a line that stands there until there is a table.

    Attributes:
        caption: a line below the table, for what the stack does not know.
    """

    def __init__(self, console: Console | None = None, *, waiting: str = "") -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self.caption = ""
        # What waited for a table that never came is not to stand above an error message.
        self._live = Live(
            Text(waiting), console=console or Console(), auto_refresh=False, transient=True
        )
        self._live.start(refresh=True)

    def show(self, found: StackStats, num_steps: int) -> None:
        """Redraw."""
        self._live.transient = False
        self._live.update(table_of(found, num_steps, self.caption), refresh=True)

    def close(self) -> None:
        """Leave the last table where it is; may be called again."""
        self._live.stop()


def table_of(found: StackStats, num_steps: int, caption: str = "") -> Table:
    """A table with a line for each layer, the outermost first."""
    from rich.table import Table

    table = Table(title=f"{num_steps:,} steps", caption=caption or None)
    table.add_column("layer")
    table.add_column("own time per step", justify="right")
    table.add_column("what it tells", overflow="fold")
    for layer in found.layers:
        own = "" if layer.own_step_s is None else f"{layer.own_step_s * 1e3:.3f} ms"
        told = ", ".join(_told(name, value) for name, value in layer.values.items())
        table.add_row(layer.name, own, told)
    return table


def _told(name: str, value: float) -> str:
    """A name and a number, with a unit that suits a reader.

    >>> _told("suspended_share", 0.25), _told("lag_s", 0.0301), _told("queued_bytes", 3 << 20)
    ('suspended share 25%', 'lag 30.1 ms', 'queued 3.0 MiB')
    >>> _told("num_steps", 1200.0)
    'steps 1,200'
    """
    words = name.removeprefix("num_").replace("_", " ")
    if name.endswith("_share"):
        return f"{words} {value:.0%}"
    if name.endswith("_bytes"):
        return f"{words.removesuffix(' bytes')} {value / (1 << 20):.1f} MiB"
    if name.endswith("_s"):
        label = words.removesuffix(" s")
        return f"{label} {value:.1f} s" if value >= 1 else f"{label} {value * 1e3:.1f} ms"
    return f"{words} {value:,.0f}" if value.is_integer() else f"{words} {value:.3g}"
