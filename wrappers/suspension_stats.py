"""What a wrapper that suspends rows has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SuspensionStats:
    """Counts of a :class:`~holdstep.wrappers.SuspendOnWait` since it was made.

    Attributes:
        num_steps: steps that were made, of at least one row.
        num_suspended: rows that are suspended now.
        suspended_share: row-steps in which a row stood still, of all.
        waited_s: time in which every row was suspended, so that a step waited [s].
    """

    num_steps: int = 0
    num_suspended: int = 0
    suspended_share: float = 0.0
    waited_s: float = 0.0
