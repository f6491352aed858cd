"""Infer every so many steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import ConfigError
from holdstep.policies.chunked.schedulers.base import Scheduler, nobody, rows_of

if TYPE_CHECKING:
    from holdstep.policies.chunked.ledger import RowsView


@dataclass
class GlobalClock(Scheduler):
    """Infers at every ``period``-th step, for the rows that wait then.

    Rows that wait are suspended until the clock's next tick. It ticks early while no row can be
    stepped, since steps are what it counts.

    Args:
        period: [env steps]; by default the number of actions of a chunk that are executed.

    Raises:
        ConfigError: a period that is no positive integer.
    """

    period: int | None = None

    def __post_init__(self) -> None:
        if self.period is not None and (
            isinstance(self.period, bool) or not isinstance(self.period, int) or self.period < 1
        ):
            raise ConfigError(f"period must be None or an integer >= 1, got {self.period!r}.")
        self._period = self.period or 1
        self._last_tick = 0

    def start(self, *, num_envs: int, execute: int) -> None:
        """The clock starts."""
        self._period = self.period or execute
        self._last_tick = 0

    def select(self, rows: RowsView) -> np.ndarray:
        """Idle rows, on the clock's ticks."""
        elapsed = rows.tick - self._last_tick
        if rows.nothing_runs:
            self._last_tick = rows.tick
        elif elapsed >= self._period:  # by more, when nobody could be asked for in between
            self._last_tick = rows.tick - elapsed % self._period
        # Again at the same tick: an inference that failed is repeated before the next step.
        return rows_of(rows.idle_mask) if rows.tick == self._last_tick else nobody()
