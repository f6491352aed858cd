"""How old the observation behind each action is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from holdstep.policies.chunked.handover import Splice


class ActionAges:
    """How old the observation, from which a queued action was inferred, is when it is executed.

    In steps of the row itself, since its observation does not age while it stands still. So it is
    known as soon as the action is queued, and what was executed is added up only when a row gets
    new actions, or somebody asks. Follows the :class:`~holdstep.policies.chunked.ActionQueue` on
    the host.

    Args:
        num_envs: number of rows.
        capacity: the most actions that a row can have.
    """

    def __init__(self, num_envs: int, *, capacity: int) -> None:
        # One more than that: where a row stands that has used up all of its actions.
        self._ages = np.zeros((num_envs, capacity + 1), dtype=np.int64)
        self._slots = np.arange(capacity + 1)
        self._all_ages = self._ages.reshape(-1)
        self._begins = np.arange(num_envs) * (capacity + 1)
        self._heads = self._begins.copy()
        self._rows = np.arange(num_envs)
        self._sum = self._highest = 0

    def clear(self) -> None:
        """Nothing is queued, and nothing was executed."""
        self._heads[:] = self._begins
        self._sum = self._highest = 0

    def put(self, rows: np.ndarray, splice: Splice, age: np.ndarray) -> None:
        """Rows continue with ``splice.keep`` old actions, then with new ones.

        Args:
            rows: int64 ``[k]``.
            splice: which of them.
            age: of the observations behind the new ones, now [env steps], int64 ``[k]``.
        """
        self._sum, self._highest = self._executed(rows)
        # Clipped are places behind what is kept.
        old = self._all_ages.take(self._heads[rows, None] + self._slots, mode="clip")
        new = age[:, None] + self._slots
        self._ages[rows] = np.where(self._slots < splice.keep[:, None], old, new)
        self._heads[rows] = self._begins[rows]

    def current(self) -> np.ndarray:
        """Age of the observation behind each row's next action [env steps], int64 ``[N]``."""
        return self._all_ages.take(self._heads)

    def executed(self) -> tuple[int, int]:
        """The sum of the ages of all actions that were executed, and the highest [env steps]."""
        return self._executed(self._rows)

    def advance(self, active_mask: np.ndarray) -> None:
        """The rows of ``active_mask``, bool ``[N]``, have executed their next action."""
        self._heads += active_mask

    def _executed(self, rows: np.ndarray) -> tuple[int, int]:
        """Likewise, but of what rows have executed of what is queued now, and all did before."""
        done = self._slots < (self._heads - self._begins)[rows, None]
        ages = self._ages[rows]
        highest = int(ages.max(initial=0, where=done))
        return self._sum + int(ages.sum(where=done)), max(self._highest, highest)
