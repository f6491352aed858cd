"""How old the observation behind each action is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from holdstep.policies.chunked.handover import Splice


class ActionAges:
    """When the observation was made from which each queued action was inferred.

    In steps of the row itself, since its observation does not age while it stands still. Follows
    the :class:`~holdstep.policies.chunked.ActionQueue` on the host.

    Args:
        num_envs: number of rows.
        capacity: the most actions that a row can have.
    """

    def __init__(self, num_envs: int, *, capacity: int) -> None:
        self._observed = np.zeros((num_envs, capacity), dtype=np.int64)
        self._positions = np.zeros(num_envs, dtype=np.int64)
        self._slots = np.arange(capacity)
        self._rows = np.arange(num_envs)

    def put(self, rows: np.ndarray, splice: Splice, observed_at: np.ndarray) -> None:
        """Rows continue with ``splice.keep`` old actions, then with new ones.

        Args:
            rows: int64 ``[k]``.
            splice: which of them.
            observed_at: steps that the rows had made when they were observed for the new ones,
                int64 ``[k]``.
        """
        index = self._slots + self._positions[rows, None]
        old = np.take_along_axis(
            self._observed[rows], np.minimum(index, len(self._slots) - 1), axis=1
        )
        new = observed_at[:, None]
        self._observed[rows] = np.where(self._slots < splice.keep[:, None], old, new)
        self._positions[rows] = 0

    def current(self, row_steps: np.ndarray) -> np.ndarray:
        """Age of the observation behind each row's next action [env steps], int64 ``[N]``.

        Args:
            row_steps: steps that each row has made, int64 ``[N]``.
        """
        positions = np.minimum(self._positions, len(self._slots) - 1)
        ages: np.ndarray = row_steps - self._observed[self._rows, positions]
        return ages

    def advance(self, active_mask: np.ndarray) -> None:
        """The rows of ``active_mask``, bool ``[N]``, have executed their next action."""
        self._positions += active_mask
