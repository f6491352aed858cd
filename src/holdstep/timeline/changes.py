"""A value per row and tick, of which only the changes are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RowChanges:
    """When the value of each row changed, and to what.

    Attributes:
        offsets: int64 ``[N + 1]``; the changes of row i are ``offsets[i]`` to ``offsets[i + 1]``.
        ticks: of each change, ascending within a row, int64 ``[E]``.
        values: from that tick on, int64 ``[E]``.
    """

    offsets: Ints
    ticks: Ints
    values: Ints

    @classmethod
    def from_events(cls, num_envs: int, rows: Ints, ticks: Ints, values: Ints) -> RowChanges:
        """Put changes that are ordered by tick into the order of the rows."""
        order = np.argsort(rows, kind="stable")
        offsets = np.zeros(num_envs + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=num_envs), out=offsets[1:])
        return cls(offsets, ticks[order], values[order])

    def row(self, index: int) -> tuple[Ints, Ints]:
        """The ticks and values of a row's changes."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        return self.ticks[part], self.values[part]

    def select(self, indices: Sequence[int]) -> RowChanges:
        """Those of some rows, in that order."""
        parts = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in indices]
        taken = np.concatenate([*parts, np.empty(0, dtype=np.int64)]).astype(np.int64)
        offsets = np.cumsum([0, *(part.size for part in parts)], dtype=np.int64)
        return RowChanges(offsets, self.ticks[taken], self.values[taken])

    def window(self, begin: int, end: int) -> RowChanges:
        """The values in ticks ``begin`` to ``end``, which become 0 to ``end - begin``."""
        rows = np.repeat(np.arange(self.offsets.size - 1), np.diff(self.offsets))
        until = np.append(self.ticks[1:], end)
        until[self.offsets[1:][np.diff(self.offsets) > 0] - 1] = end  # a row's last value stays
        kept = (self.ticks < end) & (until > begin)
        ticks = np.maximum(self.ticks[kept], begin) - begin
        return self.from_events(self.offsets.size - 1, rows[kept], ticks, self.values[kept])

    def of_row(self, index: int, num_ticks: int) -> Ints:
        """A row's value in each tick, int64 ``[num_ticks]``; every row has one from tick 0 on."""
        ticks, values = self.row(index)
        return np.repeat(values, np.diff(ticks, append=num_ticks))

    def count(self, value: int, num_ticks: int) -> Ints:
        """How many rows have a value in each tick, int64 ``[num_ticks]``."""
        has = (self.values == value).astype(np.int64)
        had = np.roll(has, 1)
        had[self.offsets[:-1][np.diff(self.offsets) > 0]] = 0  # a row's first value
        steps = np.bincount(self.ticks, weights=has - had, minlength=num_ticks)
        return np.cumsum(steps[:num_ticks]).round().astype(np.int64)
