"""The latest values of something, and their quantiles."""

from __future__ import annotations

import bisect
import math
from collections import deque


class RecentValues:
    """The last values that were measured, kept in order of size too.

    A new value costs two searches in a sorted list, and a quantile one look, which for windows of
    some hundreds is far less than sorting.

    Args:
        window: how many values are kept.

    >>> values = RecentValues(window=4)
    >>> for value in (9.0, 1.0, 2.0, 3.0, 4.0):
    ...     values.add(value)
    >>> len(values), values.quantile(0.5), values.quantile(1.0)
    (4, 2.0, 4.0)
    >>> values.largest(3)
    [2.0, 3.0, 4.0]
    """

    def __init__(self, window: int) -> None:
        self._values: deque[float] = deque(maxlen=window)
        self._ascending: list[float] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        """One more; the oldest one goes if there are too many."""
        if len(self._values) == self._values.maxlen:
            del self._ascending[bisect.bisect_left(self._ascending, self._values[0])]
        self._values.append(value)
        bisect.insort(self._ascending, value)

    def quantile(self, level: float) -> float:
        """The smallest value that a share ``level`` of the values does not exceed.

        Raises:
            IndexError: there is no value yet.
        """
        count = len(self._ascending)
        rank = math.ceil(level * count)
        return self._ascending[min(max(rank, 1), count) - 1]

    def num_above(self, limit: float) -> int:
        """How many values are above ``limit``."""
        return len(self._ascending) - bisect.bisect_right(self._ascending, limit)

    def largest(self, count: int, *, up_to: float = math.inf) -> list[float]:
        """The largest ``count`` values that are not above ``up_to``, ascending."""
        end = bisect.bisect_right(self._ascending, up_to)
        return self._ascending[max(end - count, 0) : end]
