"""What a runner has done so far."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from holdstep.policies.chunked.ledger import ChunkLedger


@dataclass(frozen=True, kw_only=True)
class RunnerStats:
    """Counts and times of a :class:`~holdstep.policies.ChunkRunner` since its reset.

    Attributes:
        num_ticks: steps of the env.
        env_steps: row-steps: rows that advanced, summed over the ticks.
        waiting_steps: row-steps in which a live row had no action and was suspended, or, under a
            scheduler that holds nobody, never.
        num_inferences: requests that came back.
        inferred_rows: rows in them.
        num_late: chunks that came after their episode had ended, and were dropped.
        dropped_actions: actions that would have been executed, had the episode not ended.
        num_episodes: episodes that ended.
        mean_staleness_ticks: age of the observation behind an executed action, in env steps; 0 to
            ``execute - 1`` within a chunk that was not asked for early.
        max_staleness_ticks: the highest such age.
        step_s: time in env steps, holding rows included [s].
        inference_s: time in inference, in whichever thread [s].
        waited_s: time in which nothing could be stepped because of inference [s].
        elapsed_s: time since the reset [s].
    """

    num_ticks: int = 0
    env_steps: int = 0
    waiting_steps: int = 0
    num_inferences: int = 0
    inferred_rows: int = 0
    num_late: int = 0
    dropped_actions: int = 0
    num_episodes: int = 0
    mean_staleness_ticks: float = 0.0
    max_staleness_ticks: int = 0
    step_s: float = 0.0
    inference_s: float = 0.0
    waited_s: float = 0.0
    elapsed_s: float = 0.0

    @property
    def env_steps_per_s(self) -> float:
        """Row-steps per second [1/s]."""
        return self.env_steps / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def waiting_share(self) -> float:
        """Row-steps in which a live row waited, of all."""
        total = self.env_steps + self.waiting_steps
        return self.waiting_steps / total if total else 0.0


@dataclass
class RunnerCounters:
    """The same while it is being counted; see :class:`RunnerStats`."""

    env_steps: int = 0
    waiting_steps: int = 0
    num_inferences: int = 0
    inferred_rows: int = 0
    num_episodes: int = 0
    staleness_sum: int = 0
    max_staleness_ticks: int = 0
    step_s: float = 0.0
    inference_s: float = 0.0
    waited_s: float = 0.0

    def clear(self) -> None:
        """Count from the beginning."""
        for counter in fields(self):
            setattr(self, counter.name, counter.default)

    def step(
        self, active_mask: np.ndarray, live_mask: np.ndarray, ages: np.ndarray, *, duration_s: float
    ) -> None:
        """A step of the env was made.

        Args:
            active_mask: rows that advanced, bool ``[N]``; at least one.
            live_mask: rows that take part, bool ``[N]``.
            ages: of the observations behind the rows' actions [env steps], int64 ``[N]``.
            duration_s: how long it took [s].
        """
        num_active, active_ages = int(np.count_nonzero(active_mask)), ages[active_mask]
        self.env_steps += num_active
        self.waiting_steps += int(np.count_nonzero(live_mask)) - num_active
        self.staleness_sum += int(active_ages.sum())
        self.max_staleness_ticks = max(self.max_staleness_ticks, int(active_ages.max()))
        self.step_s += duration_s

    def stats(self, ledger: ChunkLedger, *, elapsed_s: float) -> RunnerStats:
        """What was counted, here and by the ledger."""
        return RunnerStats(
            num_ticks=ledger.tick,
            env_steps=self.env_steps,
            waiting_steps=self.waiting_steps,
            num_inferences=self.num_inferences,
            inferred_rows=self.inferred_rows,
            num_late=ledger.num_late,
            dropped_actions=ledger.num_dropped_actions,
            num_episodes=self.num_episodes,
            mean_staleness_ticks=self.staleness_sum / max(self.env_steps, 1),
            max_staleness_ticks=self.max_staleness_ticks,
            step_s=self.step_s,
            inference_s=self.inference_s,
            waited_s=self.waited_s,
            elapsed_s=elapsed_s,
        )
