"""What a runner is made of, and for how long it can be used."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import ClosedEnvError, ResetNeededError
from holdstep.policies.chunked.action_source import ActionSource
from holdstep.policies.chunked.chunk_desk import ChunkDesk
from holdstep.policies.chunked.live_rows import LiveRows
from holdstep.policies.chunked.run_trace import open_trace
from holdstep.policies.chunked.runner_checks import (
    check_numbers,
    check_policy,
    checked_execute,
    checked_texts,
)
from holdstep.policies.chunked.schedulers.cohort import Cohort
from holdstep.policies.chunked.statistics import RunnerCounters

if TYPE_CHECKING:
    from typing import Self

    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.policies.chunked.ensemble import TemporalEnsembling
    from holdstep.policies.chunked.protocol import ChunkedPolicy
    from holdstep.policies.chunked.schedulers.base import Scheduler
    from holdstep.timeline import TimelineWriter


class RunnerParts:
    """The part of :class:`~holdstep.policies.ChunkRunner` that makes what it consists of.

    It checks that all of it goes together, closes what was opened, and knows whether the runner can
    be stepped. For the arguments see there.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        policy: ChunkedPolicy,
        scheduler: Scheduler | None = None,
        *,
        execute: int | None = None,
        ensemble: TemporalEnsembling | None = None,
        seed: int = 0,
        instructions: str | Sequence[str] = (),
        timeline: str | Path | TimelineWriter | None = None,
        timeout_s: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        scheduler = Cohort() if scheduler is None else scheduler
        check_policy(policy, env)
        check_numbers(seed=seed, timeout_s=timeout_s)
        execute = checked_execute(execute, policy.spec, scheduler, ensemble)
        self.env = env
        self.policy = policy
        self.scheduler = scheduler
        self.execute = execute
        self._live = LiveRows(env, scheduler)
        self._clock = clock
        self._num_envs = env.num_envs
        self._source = ActionSource(
            env, policy.spec, capacity=execute + scheduler.max_lead, ensemble=ensemble
        )
        self._counters = RunnerCounters()
        self._begun_s: float | None = None
        self._is_mid_step = False  # the env has made a step that is not in the books
        self._closed = False
        with ExitStack() as resources:  # closed here if anything below is refused
            self._trace = open_trace(
                timeline, env, scheduler, execute=execute, clock=clock, resources=resources
            )
            self._desk = ChunkDesk(
                env,
                policy,
                scheduler,
                self._source,
                execute=execute,
                seed=seed,
                counters=self._counters,
                trace=self._trace,
                timeout_s=timeout_s,
                clock=clock,
            )
            resources.callback(self._desk.close)
            self._ledger = self._desk.ledger
            if texts := checked_texts(instructions, self._num_envs, policy.spec):
                self._desk.requests.set_instructions(np.arange(self._num_envs), texts)
            self._resources = resources.pop_all()

    def close(self) -> None:
        """Stop inference, resume rows that were suspended here, and end the trace.

        May be called again, and from ``finally``.
        """
        if self._closed:
            return
        self._closed = True
        with self._resources:
            if self._begun_s is not None and not self.env.closed:
                self._live.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedEnvError("The runner is closed. Make a new one.")

    def _check_ready(self) -> None:
        self._check_open()
        if self._begun_s is None:
            raise ResetNeededError("Call the runner's reset() before step().")
        if self._is_mid_step:
            raise ResetNeededError(
                "The env has made a step that was interrupted before it was booked, so what each "
                "row is to do next is unknown. Call the runner's reset()."
            )
