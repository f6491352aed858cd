"""Begin a fixed margin before the result is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from holdstep.wrappers.pipeline.pacing.checks import check_count, check_number
from holdstep.wrappers.pipeline.pacing.recent import RecentValues


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """Work begins at ``predicted next step - estimated cost - safety_margin_s``.

    The fields, their defaults and their meaning are those of isaacteleop's class
    ``DeadlinePacingConfig``, so that what was tuned there can be used here. The cost is the larger
    of a moving average and a percentile of the latest costs. With a margin and a cost that together
    exceed the period of the loop, work begins at once, as it does before a second request was made.

    Args:
        safety_margin_s: begin this much earlier than the deadline would need [s]. Tune it first.
        spike_guard_percentile: of the latest costs, the share that the estimate is to cover.
        spike_guard_window: number of the latest costs.
        frame_period_adaptation: weight of each new period in the moving average of the loop's.
        compute_cost_adaptation: likewise of each new cost.
        startup_frame_period_s: the average that the first period is mixed with [s].
        startup_compute_cost_s: likewise for the first cost [s].

    Raises:
        ConfigError: an argument is out of its range.
    """

    safety_margin_s: float = 0.015
    spike_guard_percentile: float = 0.90
    spike_guard_window: int = 60
    frame_period_adaptation: float = 0.2
    compute_cost_adaptation: float = 0.25
    startup_frame_period_s: float = 0.022
    startup_compute_cost_s: float = 0.005

    def __post_init__(self) -> None:
        for name in (
            "spike_guard_percentile",
            "frame_period_adaptation",
            "compute_cost_adaptation",
        ):
            check_number(name, getattr(self, name), above=0, most=1)
        for name in ("safety_margin_s", "startup_compute_cost_s"):
            check_number(name, getattr(self, name), least=0, most=math.inf)
        check_number("startup_frame_period_s", self.startup_frame_period_s, above=0, most=math.inf)
        check_count("spike_guard_window", self.spike_guard_window, least=1)

    def pacer(self) -> DeadlinePacer:
        """A fresh pacer."""
        return DeadlinePacer(self)


class DeadlinePacer:
    """See :class:`Deadline`."""

    def __init__(self, options: Deadline) -> None:
        self._options = options
        self._period_s = options.startup_frame_period_s
        self._cost_s = options.startup_compute_cost_s
        self._costs_s = RecentValues(options.spike_guard_window)
        self._last_submitted_s: float | None = None
        self._num_submitted = 0
        self._num_own_frames = 0

    def submitted(self, now_s: float) -> None:
        """One more period of the loop is known."""
        if self._last_submitted_s is not None and now_s > self._last_submitted_s:
            weight = self._options.frame_period_adaptation
            period_s = now_s - self._last_submitted_s
            self._period_s += weight * (period_s - self._period_s)
        self._last_submitted_s = now_s
        self._num_submitted += 1

    def finished(self, begin_s: float, end_s: float) -> None:
        """One more cost is known."""
        weight = self._options.compute_cost_adaptation
        self._cost_s += weight * (end_s - begin_s - self._cost_s)
        self._costs_s.add(end_s - begin_s)

    def polled(self, now_s: float, age_frames: int) -> None:
        """Whether steps wait for their own frames; misses don't matter, the margin is fixed."""
        self._num_own_frames = 0 if age_frames else self._num_own_frames + 1

    def start_time_s(self, submitted_s: float) -> float:
        """A margin before the deadline."""
        # A step that waits for its own frame would be waiting for the delay, and the next one, of
        # which the prediction comes later by that, even longer. (The seed is one such frame.)
        if self._num_submitted < 2 or self._num_own_frames > 1:
            return submitted_s
        cost_s = self._cost_s
        if len(self._costs_s):
            cost_s = max(cost_s, self._costs_s.quantile(self._options.spike_guard_percentile))
        lead_s = cost_s + self._options.safety_margin_s
        return submitted_s + max(self._period_s - lead_s, 0.0)

    def wait_s(self, now_s: float) -> float:
        """Never."""
        return 0.0
