"""Infer all the time, for whoever waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import ConfigError
from holdstep.policies.chunked.schedulers.base import Scheduler, longest_waiting, nobody

if TYPE_CHECKING:
    from holdstep.policies.chunked.ledger import RowsView


@dataclass
class Continuous(Scheduler):
    """Keeps the policy busy: whenever it is free, it is asked for rows that wait.

    Rows are suspended while they wait, the others are stepped meanwhile. What a row does is the
    same as with :class:`Cohort`; only the order in which rows are served depends on time. Worth it
    where inference and simulation do not compete for the same processor.

    Args:
        max_batch: the most rows to ask for at once, those that have waited longest first; by
            default half of the live rows, so that one half is stepped while the other is inferred.
        min_batch: wait for so many, unless nobody else can run. By default half of ``max_batch``:
            an inference costs much whatever its batch, so single rows should not have one each.

    Raises:
        ConfigError: an argument that is no positive integer, or a ``min_batch`` over ``max_batch``.
    """

    max_batch: int | None = None
    min_batch: int | None = None
    overlaps = True

    def __post_init__(self) -> None:
        for name, value in (("max_batch", self.max_batch), ("min_batch", self.min_batch)):
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                raise ConfigError(f"{name} must be None or an integer >= 1, got {value!r}.")
        if self.max_batch and self.min_batch and self.min_batch > self.max_batch:
            raise ConfigError(
                f"min_batch ({self.min_batch}) must not be larger than max_batch "
                f"({self.max_batch})."
            )

    def select(self, rows: RowsView) -> np.ndarray:
        """Rows that have waited longest, when the policy is free."""
        num_idle = int(np.count_nonzero(rows.idle_mask))
        if num_idle == 0 or rows.num_requests > 0:
            return nobody()
        limit = self.max_batch or -(-rows.num_live // 2)
        at_least = self.min_batch or -(-limit // 2)
        if num_idle < min(at_least, limit) and not rows.nothing_runs:
            return nobody()
        return longest_waiting(rows.idle_mask, rows, limit)
