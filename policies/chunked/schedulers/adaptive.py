"""Measure what steps and inferences cost, and schedule accordingly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import ConfigError
from holdstep.policies.chunked.costs import CostMeter, Costs
from holdstep.policies.chunked.schedulers.base import Scheduler, nobody, rows_of
from holdstep.policies.chunked.schedulers.cohort import Cohort
from holdstep.policies.chunked.schedulers.continuous import Continuous
from holdstep.policies.chunked.simulation import simulate

if TYPE_CHECKING:
    from holdstep.policies.chunked.handover import Handover
    from holdstep.policies.chunked.ledger import RowsView
    from holdstep.policies.chunked.schedulers.base import Determinism
    from holdstep.policies.chunked.schedulers.prefetch import Prefetch

_PROBES = (4, 2)
"""The first cohorts are inferred in two parts, of which the first is this fraction of the rows."""
_OVERLAPPED_STEPS_OF_SETTING_UP = 4
_SIMULATED_CHUNKS = 16
_CHUNKS_BETWEEN_PLANS = 16
_CHUNKS_OF_A_TRIAL = 6
_CHUNKS_BEFORE_A_TRIAL_COUNTS = 2


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A candidate that is being tried, and what it has to beat.

    Attributes:
        name: what it took the place of.
        rate_before: what that had [env-steps/s].
        promised_gain: of the candidate over that, as simulated.
    """

    name: str
    rate_before: float
    promised_gain: float


class Adaptive(Scheduler):
    """Runs as :class:`Cohort` unless it measures that something else is faster here.

    It fits the duration of a step by the number of active rows, alone and beside an inference, and
    that of an inference by its batch; the first two cohorts, and one now and then, are inferred in
    two parts to learn that. With these costs it simulates the candidates from time to time, tries
    one that promises ``min_gain``, and keeps it if the gain is real. :meth:`explain` says what it
    found.

    Every candidate leaves a row's actions as they are, so that the choice is a matter of speed
    alone; except prefetching, which is therefore only considered when it is given.

    Args:
        min_gain: promised throughput over that of the current scheduler.
        prefetch: one more candidate; what a row does then depends on timing.

    Raises:
        ConfigError: a gain below 1.
    """

    overlaps = True

    def __init__(
        self,
        *,
        min_gain: float = 1.03,
        prefetch: Prefetch | None = None,
    ) -> None:
        if not min_gain >= 1:
            raise ConfigError(f"min_gain must be at least 1, got {min_gain!r}.")
        self.min_gain = min_gain
        self.prefetch = prefetch
        self.determinism: Determinism = "exact" if prefetch is None else "timing"
        self.start(num_envs=1, execute=1)

    @property
    def handover(self) -> Handover:
        """That of the current choice."""
        return self._candidates[self._choice].handover

    @property
    def max_lead(self) -> int:
        """That of prefetching, if it is a candidate."""
        return 0 if self.prefetch is None else self.prefetch.m

    @property
    def max_skipped(self) -> int:
        """Likewise."""
        return 0 if self.prefetch is None else self.prefetch.max_skipped

    @property
    def choice(self) -> Scheduler:
        """What it schedules by at the moment."""
        return self._candidates[self._choice]

    def check(self, *, execute: int, chunk_length: int, uses_prefix: bool) -> None:
        """As prefetching says, if it is a candidate."""
        if self.prefetch is not None:
            self.prefetch.check(execute=execute, chunk_length=chunk_length, uses_prefix=uses_prefix)

    def start(self, *, num_envs: int, execute: int) -> None:
        """Forget what was measured."""
        self._num_envs, self._execute = num_envs, execute
        # The first steps in which rows are held set much up.
        self._meter = CostMeter(warm_up_overlapped=_OVERLAPPED_STEPS_OF_SETTING_UP)
        self._candidates = self._make_candidates()
        for candidate in self._candidates.values():
            candidate.start(num_envs=num_envs, execute=execute)
        self._choice = "Cohort"
        self._probes = list(_PROBES) if num_envs >= 4 else []
        self._probing = False
        self._costs: Costs | None = None
        self._promised: dict[str, float] = {}
        self._trial: _Trial | None = None
        self._kept: dict[type[Scheduler], float] = {}
        self._reason = "nothing is measured yet"
        self._begin_period()

    def select(self, rows: RowsView) -> np.ndarray:
        """As the current choice does, except while it measures."""
        everybody = np.array_equal(rows.idle_mask, rows.live_mask)
        if self._probing:
            self._probing = False
            return rows_of(rows.idle_mask)
        if self._probes and self._choice == "Cohort":
            if not everybody:
                return nobody()
            if rows.tick > 0:  # the very first inference is no measure
                self._probing = True
                idle = rows_of(rows.idle_mask)
                return idle[: max(len(idle) // self._probes.pop(0), 1)]
        elif self._row_steps >= self._period_row_steps():
            self._decide()
        return self._candidates[self._choice].select(rows)

    def saw_step(
        self, *, num_active: int, duration_s: float, waited_s: float, overlapped: bool
    ) -> None:
        """Measure it."""
        self._meter.step(num_active, duration_s, overlapped=overlapped)
        if self._skip_row_steps > 0:
            self._skip_row_steps -= num_active
            return
        self._row_steps += num_active
        self._spent_s += duration_s + waited_s

    def saw_inference(self, *, batch: int, duration_s: float) -> None:
        """Measure it."""
        self._meter.inference(batch, duration_s)

    def saw_episodes_end(self, num_ended: int) -> None:
        """Count them."""
        self._meter.episodes_end(num_ended)

    def explain(self) -> str:
        """What it does, why, and the costs that it goes by."""
        if self._costs is None:
            return f"{self._choice}: {self._reason}"
        costs, rows, half = self._costs, self._num_envs, max(self._num_envs // 2, 1)
        return (
            f"{self._choice}: {self._reason}. A step of {rows} rows takes "
            f"{costs.step(rows) * 1e3:.1f} ms, of {half} rows {costs.step(half) * 1e3:.1f} ms, and "
            f"{costs.beside(half) * 1e3:.1f} ms beside an inference; inference of b rows "
            f"{costs.infer.fixed * 1e3:.1f} + {costs.infer.per_row * 1e3:.2f} b ms"
        )

    def _make_candidates(self) -> dict[str, Scheduler]:
        half, third = -(-self._num_envs // 2), -(-self._num_envs // 3)
        candidates: dict[str, Scheduler] = {"Cohort": Cohort()}
        if self._num_envs >= 4:
            for limit in (half, third):
                for at_least in (-(-limit // 2), 1):
                    candidates[f"Continuous(max_batch={limit}, min_batch={at_least})"] = Continuous(
                        max_batch=limit, min_batch=at_least
                    )
        if self.prefetch is not None:
            candidates[repr(self.prefetch)] = self.prefetch
        return candidates

    def _period_row_steps(self) -> int:
        chunks = _CHUNKS_OF_A_TRIAL
        if self._trial is None and self._costs is not None:
            chunks = _CHUNKS_BETWEEN_PLANS
        return chunks * self._num_envs * self._execute

    def _begin_period(self, *, skip_chunks: int = 0) -> None:
        self._row_steps = 0
        self._skip_row_steps = skip_chunks * self._num_envs * self._execute
        self._spent_s = 0.0

    def _decide(self) -> None:
        """End a trial, or look for something to try."""
        rate = self._row_steps / max(self._spent_s, 1e-9)
        if self._trial is not None:
            self._end_trial(self._trial, rate)
        else:
            self._plan(rate)

    def _plan(self, rate: float) -> None:
        costs = self._meter.costs()
        if costs is None:
            self._begin_period()
            return
        if self._choice == "Cohort" and self._num_envs >= 4 and self._meter.num_batch_sizes < 2:
            self._probes = [_PROBES[0]]  # what smaller batches took was too long ago
            self._begin_period()
            return
        if self._costs is None or not costs.is_near(self._costs, rows=self._num_envs):
            self._costs = costs
            self._promised = {
                name: self._simulated(name, costs) for name in self._make_candidates()
            }
        promised = self._promised
        # What was tried before of a candidate's kind says what its promises are worth.
        expected = {name: value * self._share_kept(name) for name, value in promised.items()}
        gains = {name: value / expected[self._choice] for name, value in expected.items()}
        best = max((n for n in gains if n != self._choice), key=gains.__getitem__, default=None)
        if best is not None and gains[best] > self.min_gain:
            gain = promised[best] / promised[self._choice]
            self._trial = _Trial(name=self._choice, rate_before=rate, promised_gain=gain)
            self._reason = f"tried, since {gains[best] * rate:.0f} env-steps/s are expected"
            self._choice = best
            self._begin_period(skip_chunks=_CHUNKS_BEFORE_A_TRIAL_COUNTS)
            return
        self._reason = f"{rate:.0f} env-steps/s, " + (
            "nothing else is left"
            if best is None
            else f"{gains[best] * rate:.0f} are expected of others at most"
        )
        self._begin_period()

    def _end_trial(self, trial: _Trial, rate: float) -> None:
        self._trial = None
        gain = rate / max(trial.rate_before, 1e-9)
        kept = self._share_kept(trial.name) * gain / trial.promised_gain
        self._kept[type(self.choice)] = kept
        if rate >= trial.rate_before:
            self._reason = f"{rate:.0f} env-steps/s, where {trial.name} had {trial.rate_before:.0f}"
            self._begin_period()
            return
        self._reason = f"{self._choice} had {rate:.0f} env-steps/s, it has {trial.rate_before:.0f}"
        self._choice = trial.name
        self._begin_period(skip_chunks=_CHUNKS_BEFORE_A_TRIAL_COUNTS)

    def _share_kept(self, name: str) -> float:
        """What a candidate's kind made of its promises, compared with what Cohort makes of them."""
        return self._kept.get(type(self._candidates[name]), 1.0)

    def _simulated(self, name: str, costs: Costs) -> float:
        run = simulate(
            self._make_candidates()[name],
            costs,
            num_envs=self._num_envs,
            execute=self._execute,
            num_ticks=_SIMULATED_CHUNKS * self._execute,
            warm_up_ticks=_SIMULATED_CHUNKS // 2 * self._execute,
        )
        return run.env_steps_per_s
