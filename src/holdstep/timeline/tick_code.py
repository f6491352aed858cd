"""What is different from one tick to the next, as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from holdstep.timeline.rows_code import encode_rows
from holdstep.timeline.states import TICK_STATES

_NO_STATE = 255


class TickEncoder:
    """Remembers the last tick, so that a line holds only what changed.

    Args:
        num_envs: number of rows, N.
    """

    def __init__(self, num_envs: int) -> None:
        self._states = np.full(num_envs, _NO_STATE, dtype=np.uint8)
        self._raw_states = b""
        self._staleness: npt.NDArray[np.int64] | None = None

    def encode(
        self,
        active: npt.NDArray[np.bool_],
        parked: npt.NDArray[np.bool_] | None,
        staleness: npt.NDArray[np.int64] | None,
    ) -> str:
        """The entries of a tick's line, each with a comma in front.

        Args:
            active: rows that advance, bool ``[N]``.
            parked: rows that have nothing left to do, bool ``[N]``, or None.
            staleness: of each active row [its active ticks], int64 ``[N]``, or None.
        """
        states = np.logical_not(active).view(np.uint8)  # 0 is active, 1 suspended
        if parked is not None:
            states += np.greater(parked, active).view(np.uint8)
        return self._changed_states(states) + self._changed_staleness(active, staleness)

    def _changed_states(self, states: npt.NDArray[np.uint8]) -> str:
        raw = states.tobytes()
        if raw == self._raw_states:  # by far the quickest comparison of short arrays
            return ""
        changed = states != self._states
        self._states, self._raw_states = states, raw
        return "".join(
            f',"{_KEYS[state]}":{rows}' for state, rows in _rows_by_value(changed, states)
        )

    def _changed_staleness(
        self, active: npt.NDArray[np.bool_], staleness: npt.NDArray[np.int64] | None
    ) -> str:
        """Where an active row's staleness is not one more than in its last active tick.

        An empty list says that it is so for all rows; no entry, that nothing is known.
        """
        if self._staleness is None:
            if staleness is None:
                return ""
            self._staleness = np.full(active.shape, -1, dtype=np.int64)
        self._staleness += active
        if staleness is None:
            return ""
        surprising = (staleness != self._staleness) & active
        if not np.count_nonzero(surprising):  # quicker than any()
            return ',"stale":[]'
        np.copyto(self._staleness, staleness, where=surprising)
        groups = [f"[{value},{rows}]" for value, rows in _rows_by_value(surprising, staleness)]
        return f',"stale":[{",".join(groups)}]'


def _rows_by_value(
    mask: npt.NDArray[np.bool_], values: npt.NDArray[np.integer[Any]]
) -> list[tuple[int, str]]:
    """The rows of a mask in groups of one value each, as (value, JSON)."""
    ids = mask.nonzero()[0]
    groups = []
    while ids.size:
        value = int(values[ids[0]])
        same = values[ids] == value
        groups.append((value, encode_rows(ids[same], mask.size)))
        ids = ids[~same]
    return groups


_KEYS = {int(state): state.name.lower() for state in TICK_STATES}
