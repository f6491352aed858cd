"""Begin as late as the misses allow, by what periods and costs turn out to be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from holdstep.wrappers.pipeline.pacing.checks import check_count, check_number
from holdstep.wrappers.pipeline.pacing.miss_budget import MissBudget
from holdstep.wrappers.pipeline.pacing.recent import RecentValues

_WARM_UP = 8
"""Periods and costs that must be known before anything is delayed."""


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Work begins as late as it may, so that inputs are as recent as they can be.

    Quantiles of the latest periods and costs say when work has to begin for most results to be
    there just before a step asks for them. A step that comes a little too early waits, for a part
    of a period at most, and only if the latest costs say that the result is about to come. So the
    reserve before a deadline covers what is usual, and the wait most of what is not.

    ``target_miss`` bounds what that costs. If a source keeps up with the loop, then, whatever its
    costs, at most ``target_miss * n + 5`` of any n frames are missed that would have been in time
    had work begun at once: each such miss takes from a budget that the other frames fill, and while
    it is empty, work begins at once (the update of adaptive conformal inference; Gibbs and Candès,
    2021). Frames that are too slow even then are missed under any pacing, and are no reason to read
    inputs earlier.

    With a source that needs longer than a period, work always begins at once; waits then have steps
    catch results that are about to come.

    Args:
        target_miss: share of frames that may be missed because of pacing.
        max_wait_frames: the longest wait in a step, in periods of the loop; 0 for none. A loop that
            runs freely, rather than at a fixed rate, is slowed by waits.
        punctual_share: of the results, the share that is to be there without waiting.
        recent_window: number of the latest periods and costs that say what is usual.
        spike_window: number of those that say what happens now and then.

    Raises:
        ConfigError: an argument is out of its range.
    """

    target_miss: float = 0.01
    max_wait_frames: float = 0.4
    punctual_share: float = 0.8
    recent_window: int = 32
    spike_window: int = 256

    def __post_init__(self) -> None:
        check_number("target_miss", self.target_miss, above=0, most=0.5)
        check_number("max_wait_frames", self.max_wait_frames, least=0, most=1)
        check_number("punctual_share", self.punctual_share, above=0, most=1)
        check_count("recent_window", self.recent_window, least=_WARM_UP)
        check_count("spike_window", self.spike_window, least=_WARM_UP)

    def pacer(self) -> AdaptivePacer:
        """A fresh pacer."""
        return AdaptivePacer(self)


@dataclass(frozen=True)
class _Plan:
    """What is planned for a request.

    Attributes:
        submitted_s: when it was made.
        begin_s: when work on it is to begin, or as soon after that as the worker is free.
    """

    submitted_s: float
    begin_s: float


class AdaptivePacer:
    """See :class:`Adaptive`."""

    def __init__(self, options: Adaptive) -> None:
        self._options = options
        self._periods_s = RecentValues(options.recent_window)
        self._costs_s = RecentValues(options.recent_window)
        # By how much the host came earlier than the median period says.
        self._early_s = RecentValues(options.recent_window)
        self._all_costs_s = RecentValues(options.spike_window)
        self._all_early_s = RecentValues(options.spike_window)
        self._budget = MissBudget(options.target_miss)
        self._submitted_s: float | None = None
        self._free_s = -math.inf
        # When the worker would have been free, had it begun at once whenever it could.
        self._could_be_free_s = -math.inf
        self._pending: _Plan | None = None
        self._running: _Plan | None = None
        self._missed_s: float | None = None
        self._num_own_frames = 0

    def submitted(self, now_s: float) -> None:
        """One more period of the loop is known."""
        if self._submitted_s is not None:
            period_s = now_s - self._submitted_s
            if len(self._periods_s):
                early_s = self._period_s - period_s
                self._early_s.add(early_s)
                self._all_early_s.add(early_s)
            self._periods_s.add(period_s)
        self._submitted_s = now_s
        replaced, self._pending = self._pending, None
        if replaced is None or self._running is not None:
            return
        if replaced.begin_s <= now_s:
            self._running = replaced
        else:  # it was held back until too late
            done_s = max(replaced.submitted_s, self._free_s) + self._cost_s
            self._budget.frame(missed=done_s <= now_s + self._max_wait_s)

    def finished(self, begin_s: float, end_s: float) -> None:
        """One more cost is known, and whether pacing is to blame for a miss."""
        plan, self._running = self._running, None
        if self._pending is not None and self._pending.submitted_s <= begin_s:
            plan, self._pending = self._pending, None  # the worker takes the newest request
        if plan is None:
            plan = _Plan(begin_s, begin_s)
        # Waking up late is part of the cost, as seen from a plan.
        planned_s = min(max(plan.begin_s, self._free_s), begin_s)
        self._costs_s.add(end_s - planned_s)
        self._all_costs_s.add(end_s - planned_s)
        delay_s = planned_s - max(plan.submitted_s, self._could_be_free_s)
        missed_s, self._missed_s = self._missed_s, None
        avoidable = delay_s > 0 and missed_s is not None and end_s - delay_s <= missed_s
        self._budget.frame(missed=avoidable)
        self._free_s = end_s
        self._could_be_free_s = end_s - delay_s

    def polled(self, now_s: float, age_frames: int) -> None:
        """Whether a frame was missed, and until when it was waited for."""
        self._num_own_frames = 0 if age_frames else self._num_own_frames + 1
        if age_frames > 1 and self._missed_s is None:
            self._missed_s = now_s

    def start_time_s(self, submitted_s: float) -> float:
        """As late as allowed for the next step's poll."""
        begin_s = submitted_s
        # Steps that wait for their own frames would wait for delays, too, and be longer for it, and
        # the next delay would be longer still.
        if self._is_warm and not self._budget.is_empty and self._num_own_frames < 2:
            begin_s += max(self._period_s - self._reserve_s(), 0.0)
        self._pending = _Plan(submitted_s, begin_s)
        return begin_s

    def wait_s(self, now_s: float) -> float:
        """Up to the limit, if the result is more likely than not to come within that."""
        if not self._is_warm or self._running is None:
            return 0.0
        limit_s = self._max_wait_s
        elapsed_s = now_s - max(self._running.begin_s, self._free_s)
        num_longer = self._all_costs_s.num_above(elapsed_s)
        num_too_long = self._all_costs_s.num_above(elapsed_s + limit_s)
        return limit_s if 2 * num_too_long <= num_longer else 0.0

    @property
    def _is_warm(self) -> bool:
        return min(len(self._early_s), len(self._costs_s)) >= _WARM_UP

    @property
    def _period_s(self) -> float:
        return self._periods_s.quantile(0.5)

    @property
    def _cost_s(self) -> float:
        return self._costs_s.quantile(0.5)

    @property
    def _max_wait_s(self) -> float:
        return self._options.max_wait_frames * self._period_s if self._is_warm else 0.0

    def _reserve_s(self) -> float:
        """How long before a deadline work should begin."""
        share = self._options.punctual_share
        usual_s = self._costs_s.quantile(share) + self._early_s.quantile(share)
        return max(usual_s, self._rare_reserve_s(usual_s))

    def _rare_reserve_s(self, usual_s: float) -> float:
        """The same for what is rare, of which the longest wait covers a part.

        Costs that are too long even if work begins at once don't count. Those of them after which
        the next result can still be in time count for that one.
        """
        num_spared = int(self._budget.allowed_share * self._options.spike_window)
        period_s, wait_s = self._period_s, self._max_wait_s
        longest_s = period_s + wait_s
        needs_s = [s - wait_s for s in self._all_costs_s.largest(num_spared + 1, up_to=longest_s)]
        if usual_s < period_s:
            both_s = longest_s + period_s - usual_s
            spikes_s = self._all_costs_s.largest(num_spared + 1, up_to=both_s)
            needs_s += [s + usual_s - period_s - wait_s for s in spikes_s if s > longest_s]
        if len(needs_s) <= num_spared:
            return 0.0
        early_s = self._all_early_s.largest(num_spared + 1)[0]
        return sorted(needs_s)[-1 - num_spared] + max(early_s, 0.0)
