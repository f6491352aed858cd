"""Infer once enough rows need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import ConfigError
from holdstep.policies.chunked.schedulers.base import Scheduler, nobody, rows_of

if TYPE_CHECKING:
    from holdstep.policies.chunked.ledger import RowsView


@dataclass
class Threshold(Scheduler):
    """Infers when ``k`` rows wait, when one has waited too long, or when nobody else can run.

    From half of the rows on it does as :class:`Cohort` does, whatever the phases were in which it
    started; with fewer, rows may never come together again. Short limits on waiting are costly.

    Args:
        k: number of rows; more than are live means all of them.
        max_wait_ticks: the most steps for which a row may wait [env steps]; None for no limit.

    Raises:
        ConfigError: an argument that is no positive integer.
    """

    k: int
    max_wait_ticks: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("k", self.k), ("max_wait_ticks", self.max_wait_ticks)):
            if name != "k" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be an integer >= 1, got {value!r}.")

    def select(self, rows: RowsView) -> np.ndarray:
        """Idle rows, when it is time."""
        idle = rows.idle_mask
        num_idle = int(np.count_nonzero(idle))
        if num_idle == 0:
            return nobody()
        waited_long = self.max_wait_ticks is not None and (
            rows.waited_ticks[idle].max() >= self.max_wait_ticks
        )
        if num_idle >= min(self.k, rows.num_live) or waited_long or rows.nothing_runs:
            return rows_of(idle)
        return nobody()
