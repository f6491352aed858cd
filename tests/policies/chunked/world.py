"""A world with a clock of its own, in which schedulers are run and told how long things took."""

from dataclasses import dataclass, field

import numpy as np

from holdstep.policies.chunked.costs import Costs, Line
from holdstep.policies.chunked.ledger import ChunkLedger

PLENTY = 2**31


def costs_of(step, infer, *, slowdown=1.0, episode=150):
    """Costs from milliseconds: pairs of what is fixed and what comes with each row."""
    lines = [Line(fixed=fixed / 1e3, per_row=row / 1e3) for fixed, row in (step, infer)]
    return Costs(
        step=lines[0],
        beside=Line(fixed=lines[0].fixed * slowdown, per_row=lines[0].per_row * slowdown),
        infer=lines[1],
        ending_probability=1 / episode if episode else 0.0,
    )


@dataclass
class World:
    """Drives a scheduler as a runner with a worker does, at costs that may change as it goes.

    ``noise`` is the standard deviation of the logarithm of each duration.
    """

    costs: Costs
    num_envs: int
    execute: int
    noise: float = 0.0
    seed: int = 0
    now_s: float = 0.0
    stepped_at_s: float = 0.0
    row_steps: int = 0
    choices: list = field(default_factory=list)

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)
        self.ledger = None
        self.pending = []
        self.free_at_s = 0.0
        self.ticket = 0

    def start(self, scheduler):
        scheduler.start(num_envs=self.num_envs, execute=self.execute)
        self.ledger = ChunkLedger(self.num_envs, execute=self.execute, handover=scheduler.handover)
        self.ledger.clear()

    def run(self, scheduler, chunks):
        """Env-steps per second over so many chunks per row."""
        if self.ledger is None:
            self.start(scheduler)
        begin_s, begin = self.now_s, self.row_steps
        while self.row_steps - begin < chunks * self.num_envs * self.execute:
            self._tick(scheduler)
        return (self.row_steps - begin) / (self.now_s - begin_s)

    def _noisy(self, duration_s):
        return (
            duration_s * float(np.exp(self.rng.normal(0, self.noise))) if self.noise else duration_s
        )

    def _tick(self, scheduler):
        self._hand_out(scheduler)
        self._ask(scheduler)
        while not (active := self.ledger.runnable_mask).any():
            assert self.pending, "nobody runs, nothing is inferred, and nobody is asked for"
            self.now_s = max(self.now_s, self.pending[0][0])
            self._hand_out(scheduler)
            self._ask(scheduler)
        overlapped, num_active = bool(self.pending), int(active.sum())
        step = self.costs.beside if overlapped else self.costs.step
        duration_s = self._noisy(step(num_active))
        waited_s = self.now_s - self.stepped_at_s
        self.now_s += duration_s
        self.stepped_at_s = self.now_s
        self.row_steps += num_active
        self.ledger.advance(active)
        scheduler.saw_step(
            num_active=num_active, duration_s=duration_s, waited_s=waited_s, overlapped=overlapped
        )
        ended = active & (self.rng.random(self.num_envs) < self.costs.ending_probability)
        if ended.any():
            self.ledger.begin_episodes(np.flatnonzero(ended))
            scheduler.saw_episodes_end(int(ended.sum()))

    def _ask(self, scheduler):
        self.ledger.handover = scheduler.handover
        self.ledger.newly_wanting()
        while self.ledger.wants_any and len(rows := scheduler.select(self.ledger.view())):
            assert self.ledger.view().wanting_mask[rows].all()
            self.ledger.submit(rows, self.ticket)
            batch = int(self.ledger.live_mask.sum()) if scheduler.infers_all else len(rows)
            duration_s = self._noisy(self.costs.infer(batch))
            self.free_at_s = max(self.now_s, self.free_at_s) + duration_s
            entry = (self.free_at_s, self.ticket, rows, batch, duration_s, self.ledger.handover)
            self.pending.append(entry)
            self.ticket += 1
            if not scheduler.overlaps:
                self.now_s = self.free_at_s
                self._hand_out(scheduler)
        choice = type(getattr(scheduler, "choice", scheduler)).__name__
        if not self.choices or self.choices[-1] != choice:
            self.choices.append(choice)

    def _hand_out(self, scheduler):
        while self.pending and self.pending[0][0] <= self.now_s:
            _, ticket, rows, batch, duration_s, handover = self.pending.pop(0)
            wanted = rows[self.ledger.settle(rows, ticket)]
            scheduler.saw_inference(batch=batch, duration_s=duration_s)
            if len(wanted):
                lengths = np.full(len(wanted), PLENTY)
                self.ledger.install(wanted, self.ledger.splice(wanted, lengths, handover))
