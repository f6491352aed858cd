"""The colours of what a row can be doing, the same in every drawing."""

from __future__ import annotations

from types import MappingProxyType

from holdstep.timeline.states import RowState

COLORS = MappingProxyType(
    {
        RowState.ACTIVE: "#4da3db",
        RowState.SUSPENDED: "#e8a317",
        RowState.QUEUED: "#a0708f",
        RowState.INFERENCE: "#5a1846",
        RowState.PARKED: "#bdbdbd",
        RowState.NO_TICK: "#ffffff",
    }
)
"""Apart from each other also for people who see few colours: they differ in lightness too."""

LABELS = MappingProxyType(
    {
        RowState.ACTIVE: "active",
        RowState.SUSPENDED: "suspended",
        RowState.QUEUED: "call queued",
        RowState.INFERENCE: "call running",
        RowState.PARKED: "parked",
        RowState.NO_TICK: "no tick",
    }
)
"""What a legend calls them, in its order."""

ERROR_COLOR = "#d62728"
"""A call that failed."""


def rgb(color: str) -> tuple[float, float, float]:
    """A colour as red, green and blue from 0 to 1.

    >>> rgb("#ff0033")
    (1.0, 0.0, 0.2)
    """
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue
