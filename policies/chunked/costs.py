"""What steps and inferences cost, as measured while running."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Line:
    """A straight line, ``fixed + per_row * rows``, neither of them negative.

    Attributes:
        fixed: [s].
        per_row: [s].
    """

    fixed: float
    per_row: float

    def __call__(self, rows: int) -> float:
        """The value for so many rows [s]."""
        return self.fixed + self.per_row * rows

    @classmethod
    def fit(cls, samples: Iterable[tuple[int, float]]) -> Line:
        """Least squares through the medians of the samples for each number of rows.

        Medians, since a single step that the machine was busy elsewhere would bend the line. Where
        the slope or the offset came out negative, it is zero and the other one is fitted alone.

        Args:
            samples: numbers of rows and durations [s]; at least one.
        """
        groups: dict[int, list[float]] = {}
        for rows, value in samples:
            groups.setdefault(rows, []).append(value)
        x = np.array(list(groups), dtype=np.float64)
        y = np.array([np.median(values) for values in groups.values()])
        weight = np.array([len(values) for values in groups.values()], dtype=np.float64)
        weight /= weight.sum()
        mean_x, mean_y = weight @ x, weight @ y
        variance = weight @ (x - mean_x) ** 2
        slope = weight @ ((x - mean_x) * (y - mean_y)) / variance if variance > 0 else 0.0
        if slope <= 0:
            return cls(fixed=float(mean_y), per_row=0.0)
        if mean_y - slope * mean_x < 0:
            return cls(fixed=0.0, per_row=float(weight @ (x * y) / (weight @ x**2)))
        return cls(fixed=float(mean_y - slope * mean_x), per_row=float(slope))


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a run costs.

    Attributes:
        step: a step [s], by the number of rows that advance.
        beside: a step while something is being inferred [s], likewise. Rows wait then, which costs
            something too, and both may compete for a processor.
        infer: an inference [s], by its batch.
        ending_probability: of an episode, in each step of a row.
    """

    step: Line
    beside: Line
    infer: Line
    ending_probability: float = 0.0

    def synchronous_bound(self, num_envs: int, execute: int) -> float:
        """Env-steps per second if no row ever waited for another one [1/s].

        ``N * L / (L * S + I(N))``: all rows make L steps of S, then one inference serves them all.
        """
        return num_envs * execute / (execute * self.step(num_envs) + self.infer(num_envs))

    def is_near(self, other: Costs, tolerance: float = 0.05, *, rows: int) -> bool:
        """Whether both say the same for about so many rows, to a relative tolerance."""
        pairs = [
            (mine(count), theirs(count))
            for mine, theirs in (
                (self.step, other.step),
                (self.beside, other.beside),
                (self.infer, other.infer),
            )
            for count in (max(rows // 4, 1), rows)
        ]
        return all(abs(a - b) <= tolerance * max(a, b) for a, b in pairs)


class CostMeter:
    """Collects durations; the latest ones count, the first ones don't.

    First steps and inferences compile, allocate, and fill caches.

    Args:
        warm_up_steps: steps that are not counted.
        warm_up_inferences: inferences that are not counted.
        warm_up_overlapped: steps beside an inference that are not counted.
    """

    def __init__(
        self,
        *,
        warm_up_steps: int = 3,
        warm_up_inferences: int = 1,
        warm_up_overlapped: int = 0,
    ) -> None:
        self._steps: deque[tuple[int, float]] = deque(maxlen=512)
        self._overlapped: deque[tuple[int, float]] = deque(maxlen=256)
        self._inferences: deque[tuple[int, float]] = deque(maxlen=64)
        self._skip_steps = warm_up_steps
        self._skip_inferences = warm_up_inferences
        self._skip_overlapped = warm_up_overlapped
        self._row_steps = 0
        self._ends = 0

    def step(self, num_active: int, duration_s: float, *, overlapped: bool) -> None:
        """A step was made."""
        self._row_steps += num_active
        if self._skip_steps > 0:
            self._skip_steps -= 1
            return
        if overlapped and self._skip_overlapped > 0:
            self._skip_overlapped -= 1
            return
        (self._overlapped if overlapped else self._steps).append((num_active, duration_s))

    def inference(self, batch: int, duration_s: float) -> None:
        """So many rows were inferred."""
        if self._skip_inferences > 0:
            self._skip_inferences -= 1
            return
        self._inferences.append((batch, duration_s))

    def episodes_end(self, num_ended: int) -> None:
        """So many episodes ended."""
        self._ends += num_ended

    @property
    def num_batch_sizes(self) -> int:
        """Different batches among the latest inferences: with one, their slope is not known."""
        return len({batch for batch, _ in self._inferences})

    def costs(self) -> Costs | None:
        """What was measured, or None before there is something of each kind."""
        if not (self._steps or self._overlapped) or not self._inferences:
            return None
        return Costs(
            step=Line.fit(self._steps or self._overlapped),
            beside=Line.fit(self._overlapped or self._steps),
            infer=Line.fit(self._inferences),
            ending_probability=self._ends / max(self._row_steps, 1),
        )
