"""Return, length and time of the episodes under way, on the host."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


class EpisodeStats:
    """Adds up rewards and steps of each row until its episode ends.

    Args:
        num_envs: number of rows.
        clock: gives the time [s].
    """

    def __init__(self, num_envs: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        # float64, as Monitor's sum of Python floats: float32 drifts in episodes of many steps.
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, dtype=np.int64)

    def add(self, reward: np.ndarray, num_steps: np.ndarray | None = None) -> None:
        """Count a step.

        Args:
            reward: ``[N]``.
            num_steps: env steps that each row has advanced, int or bool ``[N]``; None for one each.
        """
        self._returns += reward
        self._lengths += 1 if num_steps is None else num_steps

    def take(self, ended: np.ndarray) -> list[dict[str, float]]:
        """The finished episodes of rows ``ended`` (int ``[k]``), which start over.

        Returns:
            For each, its return ``r``, length ``l`` [env steps], and the time ``t`` [s] since this
            object was made, rounded as by Stable-Baselines3's ``Monitor``.
        """
        seconds = round(self._clock() - self._start, 6)
        returns = self._returns[ended].round(6).tolist()
        lengths = self._lengths[ended].tolist()
        self._returns[ended] = 0
        self._lengths[ended] = 0
        return [
            {"r": total, "l": length, "t": seconds}
            for total, length in zip(returns, lengths, strict=True)
        ]

    def clear(self) -> None:
        """Start all rows over."""
        self._returns[:] = 0
        self._lengths[:] = 0
