"""A stepping loop and a worker on a simulated clock: what a pacer does, without waiting for it.

The pipeline's rules: one running and one pending request, newer ones replace the pending one, a
step takes the newest finished frame, and may wait for the next one before that.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.wrappers.pipeline.pacing import Pacer

TimeOf = Callable[[int, random.Random], float]
"""A duration [s] by the number of the step, or of the computation."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is simulated.

    Attributes:
        cost: of a computation, while nothing hinders it [s].
        period: from a step to the next one, at a fixed rate [s].
        work: the env's part of a step [s].
        wake_s: mean delay with which a thread wakes up [s]; exponential.
        hindered: whether worker and env's work hold the same lock (Python's), so that the worker
            has half its speed while the env works.
        free_running: steps follow each other without a fixed rate.
    """

    cost: TimeOf
    period: TimeOf = lambda step, rng: 0.020
    work: TimeOf = lambda step, rng: 0.008
    wake_s: float = 1e-4
    hindered: bool = False
    free_running: bool = False


@dataclass(frozen=True)
class Computation:
    """What the worker did for a request.

    Attributes:
        frame_id: of the request.
        submitted_s: when that was made.
        earliest_s: when it could have begun: the request was there, and the worker free.
        begin_s: when it began.
        end_s: when it ended.
    """

    frame_id: int
    submitted_s: float
    earliest_s: float
    begin_s: float
    end_s: float


@dataclass
class Frames:
    """What the steps got.

    Attributes:
        input_age_s: from the begin of the computation to the application of its result.
        age_frames: submissions since the one that the result answers.
        waited_s: in each step.
        submitted_s: when each request was made.
        computations: of the worker, in their order.
    """

    input_age_s: list[float] = field(default_factory=list)
    age_frames: list[int] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)
    submitted_s: list[float] = field(default_factory=list)
    computations: list[Computation] = field(default_factory=list)

    @property
    def num_missed(self) -> int:
        return sum(age > 1 for age in self.age_frames)

    @property
    def miss_share(self) -> float:
        return self.num_missed / len(self.age_frames)

    @property
    def age_p50_ms(self) -> float:
        return 1e3 * statistics.median(self.input_age_s)

    @property
    def age_mean_ms(self) -> float:
        return 1e3 * statistics.fmean(self.input_age_s)

    @property
    def waited_mean_ms(self) -> float:
        return 1e3 * statistics.fmean(self.waited_s)

    @property
    def num_late_by_delay(self) -> int:
        """Computations that missed a step's poll, and wouldn't have if all had begun at once."""
        left_s = [a + b for a, b in zip(self.submitted_s, self.waited_s, strict=True)]
        count, free_s = 0, 0.0
        for done in self.computations:
            # frame_id is that of the poll at index frame_id - 1; the next one wants the result.
            missed_s = left_s[done.frame_id] if done.frame_id < len(left_s) else math.inf
            could_end_s = max(done.submitted_s, free_s) + done.end_s - done.begin_s
            count += could_end_s <= missed_s < done.end_s
            free_s = could_end_s
        return count


@dataclass
class _Running:
    frame_id: int
    submitted_s: float
    earliest_s: float
    begin_s: float
    work_left_s: float


class LoopSimulation:
    """Runs a pacer against a load.

    Args:
        pacer: fresh.
        load: what it is to cope with.
        seed: of whatever is random in the load.
        settled: whether the begin of a request is settled when it is submitted, and passed on to a
            request that replaces it if that would begin later. Else a worker asks for it when it is
            free, as holdstep's and isaacteleop's do.
    """

    def __init__(self, pacer: Pacer, load: Load, *, seed: int = 0, settled: bool = False) -> None:
        self._settled = settled
        self._pacer = pacer
        self._load = load
        self._rng = random.Random(seed)
        self._now_s = 100.0
        self._pending: tuple[int, float] | None = None
        self._begin_s = math.inf  # of the pending request
        self._running: _Running | None = None
        self._hindered = False
        self._free_s = self._now_s
        self._num_computed = 0
        self._newest = (0, 0.0)  # frame id, begin
        self.frames = Frames()

    def run(self, num_steps: int) -> Frames:
        """Make the seed and so many steps after it."""
        self._pacer.submitted(self._now_s)
        begin_s = self._now_s
        self._now_s += self._cost()
        self._pacer.finished(begin_s, self._now_s)
        self._newest = (0, begin_s)
        self._pacer.polled(self._now_s, 0)
        step_s = begin_s
        for step in range(1, num_steps + 1):
            self._hindered = self._load.hindered
            self._advance(self._now_s + self._load.work(step, self._rng))
            self._hindered = False
            if not self._load.free_running:
                step_s += self._load.period(step, self._rng)
                wake_s = self._rng.expovariate(1 / self._load.wake_s) if self._load.wake_s else 0.0
                self._advance(step_s + wake_s)
                if self._now_s > step_s + 1.0:
                    step_s = self._now_s  # a loop that is late for good doesn't catch up
            self._step(step)
        return self.frames

    def _step(self, frame_id: int) -> None:
        submitted_s = self._now_s
        self._pacer.submitted(submitted_s)
        is_replaced = self._pending is not None
        self._pending = (frame_id, submitted_s)
        if self._settled:
            due_s = self._due_s(submitted_s)
            self._begin_s = min(due_s, self._begin_s) if is_replaced else due_s
        elif self._running is None:
            self._begin_s = self._due_s(submitted_s)
        newest = self._newest
        if frame_id - newest[0] > 1:
            wait_s = self._pacer.wait_s(self._now_s)
            assert wait_s >= 0
            until_s = self._now_s + wait_s
            while self._now_s < until_s and self._newest is newest:
                self._advance(until_s, stop_when_published=True)
        age_frames = frame_id - self._newest[0]
        self._pacer.polled(self._now_s, age_frames)
        self.frames.submitted_s.append(submitted_s)
        self.frames.waited_s.append(self._now_s - submitted_s)
        self.frames.age_frames.append(age_frames)
        self.frames.input_age_s.append(self._now_s - self._newest[1])

    def _advance(self, until_s: float, *, stop_when_published: bool = False) -> None:
        """Let the worker work until then."""
        while self._now_s < until_s:
            speed = 0.5 if self._hindered else 1.0
            if self._running is not None:
                event_s = self._now_s + self._running.work_left_s / speed
            else:
                event_s = max(self._begin_s, self._now_s) if self._pending else math.inf
            to_s = min(event_s, until_s)
            if self._running is not None:
                self._running.work_left_s -= (to_s - self._now_s) * speed
            self._now_s = to_s
            if event_s > until_s:
                return
            if self._running is None:
                self._begin()
            else:
                self._publish(self._running)
                if stop_when_published:
                    return

    def _begin(self) -> None:
        assert self._pending is not None
        frame_id, submitted_s = self._pending
        earliest_s = max(submitted_s, self._free_s)
        self._running = _Running(frame_id, submitted_s, earliest_s, self._now_s, self._cost())
        self._pending = None

    def _publish(self, running: _Running) -> None:
        self._running = None
        self._newest = (running.frame_id, running.begin_s)
        self._free_s = self._now_s
        self.frames.computations.append(
            Computation(
                running.frame_id,
                running.submitted_s,
                running.earliest_s,
                running.begin_s,
                self._now_s,
            )
        )
        self._pacer.finished(running.begin_s, self._now_s)
        if not self._settled and self._pending is not None:
            self._begin_s = self._due_s(self._pending[1])

    def _due_s(self, submitted_s: float) -> float:
        due_s = self._pacer.start_time_s(submitted_s)
        assert due_s >= submitted_s
        if due_s > self._now_s and self._load.wake_s:
            due_s += self._rng.expovariate(1 / self._load.wake_s)
        return due_s

    def _cost(self) -> float:
        self._num_computed += 1
        return self._load.cost(self._num_computed, self._rng)


def repeats(
    pacer_of: Callable[[], Pacer],
    load: Load,
    *,
    steps: int,
    seeds: int,
    settled: bool = False,
) -> Iterator[Frames]:
    """The same with several seeds."""
    for seed in range(seeds):
        simulation = LoopSimulation(pacer_of(), load, seed=seed, settled=settled)
        yield simulation.run(steps)
