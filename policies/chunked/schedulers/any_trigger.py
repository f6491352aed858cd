"""The baseline: as soon as any row needs a chunk, infer for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from holdstep.policies.chunked.schedulers.base import Scheduler, rows_of

if TYPE_CHECKING:
    from holdstep.policies.chunked.ledger import RowsView


@dataclass
class AnyTrigger(Scheduler):
    """Infers for all live rows whenever one of them has no action left.

    What most evaluation loops do today, and here to compare with. Once episodes have ended at
    different times, some row needs a chunk at nearly every step, and every step pays for a whole
    inference (IsaacLab-Arena issue 522). Only the chunks of the rows that need one are used.
    """

    holds_rows: ClassVar[bool] = False
    infers_all: ClassVar[bool] = True

    def select(self, rows: RowsView) -> np.ndarray:
        """Rows without an action."""
        return rows_of(rows.idle_mask)
