"""What a row can be doing."""

from __future__ import annotations

from enum import IntEnum


class RowState(IntEnum):
    """What a row of a batch does at a moment.

    The first three are what a tick can find a row in, and what a trace holds. The others are told
    from the calls of the policy and from the time that no tick covers.
    """

    ACTIVE = 0
    """It advances in a tick."""
    SUSPENDED = 1
    """A tick runs, and the row stands still in it."""
    PARKED = 2
    """It has nothing left to do: its last episode is over."""
    QUEUED = 3
    """It stands still, and the call that it asked for has not begun."""
    INFERENCE = 4
    """It stands still, and the call that it asked for runs."""
    NO_TICK = 5
    """It stands still because no tick runs, and no call runs for it either."""


TICK_STATES = (RowState.ACTIVE, RowState.SUSPENDED, RowState.PARKED)
"""What a tick can find a row in."""
