"""A run of a scheduler with a simulated clock: what would it achieve, at these costs?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import ConfigError
from holdstep.policies.chunked.ledger import ChunkLedger

if TYPE_CHECKING:
    from holdstep.policies.chunked.costs import Costs
    from holdstep.policies.chunked.schedulers.base import Scheduler


@dataclass(frozen=True, kw_only=True)
class SimulatedRun:
    """What a scheduler achieved.

    Attributes:
        env_steps_per_s: row-steps per second [1/s].
        suspended_share: row-steps in which a row waited, of all.
        num_inferences: how many there were.
    """

    env_steps_per_s: float
    suspended_share: float
    num_inferences: int


def simulate(
    scheduler: Scheduler,
    costs: Costs,
    *,
    num_envs: int,
    execute: int,
    num_ticks: int,
    warm_up_ticks: int = 0,
    seed: int = 0,
) -> SimulatedRun:
    """Run a scheduler against costs instead of an env and a policy.

    The books are the real ones; only time, and when episodes end (with the same probability at
    every step), are made up.

    Args:
        scheduler: starts a run with this; give it an object of its own.
        costs: what things cost.
        num_envs: rows, all live.
        execute: actions of a chunk that are executed.
        num_ticks: steps to measure.
        warm_up_ticks: steps before that, in which episodes get out of phase.
        seed: of the episodes' ends.

    Raises:
        ConfigError: no step is to be measured, or the scheduler leaves every row waiting.
    """
    if num_ticks < 1:
        raise ConfigError(f"num_ticks must be at least 1, got {num_ticks!r}.")
    rng = np.random.default_rng(seed)
    scheduler.start(num_envs=num_envs, execute=execute)
    ledger = ChunkLedger(num_envs, execute=execute, handover=scheduler.handover)
    ledger.clear()
    pending: list[tuple[float, int, np.ndarray]] = []  # end, ticket, rows; in order of the ends
    now_s = free_at_s = started_s = 0.0
    ticket = row_steps = num_inferences = counted_ticks = 0
    while ledger.tick < warm_up_ticks + num_ticks:
        while pending and pending[0][0] <= now_s:
            _arrive(ledger, *pending.pop(0)[1:])
        ledger.handover = scheduler.handover
        if ledger.handover.lead:
            ledger.newly_wanting()
        while ledger.wants_any and len(rows := scheduler.select(ledger.view())) > 0:
            ledger.submit(rows, ticket)
            batch = num_envs if scheduler.infers_all else len(rows)
            free_at_s = max(now_s, free_at_s) + costs.infer(batch)
            num_inferences += 1
            if scheduler.overlaps:
                pending.append((free_at_s, ticket, rows))
            else:
                now_s = free_at_s
                _arrive(ledger, ticket, rows)
            ticket += 1
        active = ledger.runnable_mask
        num_active = int(np.count_nonzero(active))
        if num_active == 0:
            if not pending:
                raise ConfigError(f"{scheduler!r} asked for nobody while every row waits.")
            now_s = pending[0][0]
            continue
        now_s += (costs.beside if pending else costs.step)(num_active)
        ledger.advance(active)
        if costs.ending_probability > 0:
            ended = active & (rng.random(num_envs) < costs.ending_probability)
            if ended.any():
                ledger.begin_episodes(np.flatnonzero(ended))
        if ledger.tick == warm_up_ticks:
            started_s, row_steps, num_inferences = now_s, 0, 0
        elif ledger.tick > warm_up_ticks:
            row_steps += num_active
            counted_ticks += 1
    return SimulatedRun(
        env_steps_per_s=row_steps / (now_s - started_s),
        suspended_share=1 - row_steps / (num_envs * max(counted_ticks, 1)),
        num_inferences=num_inferences,
    )


def _arrive(ledger: ChunkLedger, ticket: int, rows: np.ndarray) -> None:
    wanted = rows[ledger.settle(rows, ticket)]
    if len(wanted):
        # As long as is ever executed of a chunk.
        lengths = np.full(len(wanted), 2**31)
        ledger.install(wanted, ledger.splice(wanted, lengths, ledger.handover))
