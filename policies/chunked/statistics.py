"""What a runner has done so far."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

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
    """What the ledger and the actions' ages do not know of it; see :class:`RunnerStats`."""

    waiting_steps: int = 0
    num_inferences: int = 0
    inferred_rows: int = 0
    num_episodes: int = 0
    step_s: float = 0.0
    inference_s: float = 0.0
    waited_s: float = 0.0

    def clear(self) -> None:
        """Count from the beginning."""
        for counter in fields(self):
            setattr(self, counter.name, counter.default)

    def stats(
        self, ledger: ChunkLedger, *, executed_ages: tuple[int, int], elapsed_s: float
    ) -> RunnerStats:
        """What was counted, here and elsewhere.

        Args:
            ledger: of the run.
            executed_ages: the sum and the highest of the ages of the observations behind all
                actions that were executed [env steps].
            elapsed_s: since the reset [s].
        """
        env_steps = int(ledger.row_steps.sum())
        sum_of_ages, highest_age = executed_ages
        return RunnerStats(
            num_ticks=ledger.tick,
            env_steps=env_steps,
            num_late=ledger.num_late,
            dropped_actions=ledger.num_dropped_actions,
            mean_staleness_ticks=sum_of_ages / max(env_steps, 1),
            max_staleness_ticks=highest_age,
            elapsed_s=elapsed_s,
            **vars(self),
        )
