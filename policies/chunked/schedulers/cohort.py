"""The default: infer once everybody needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdstep.policies.chunked.schedulers.base import Scheduler, nobody, rows_of

if TYPE_CHECKING:
    from holdstep.policies.chunked.ledger import RowsView


@dataclass
class Cohort(Scheduler):
    """Infers when all live rows wait for a chunk.

    Rows that used their chunk up, or whose episode ended in the middle of it, are suspended until
    the others have, and all continue together. An inference then always serves every row, at the
    price of those that wait: about ``L / 2T`` of the row-steps with chunks of L actions and
    episodes of T steps.
    """

    def select(self, rows: RowsView) -> np.ndarray:
        """All idle rows, when no other live row is left."""
        if np.array_equal(rows.idle_mask, rows.live_mask):
            return rows_of(rows.idle_mask)
        return nobody()
