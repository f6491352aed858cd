"""Where chunks are asked for, and handed out when they have come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.errors import ConfigError, PolicyError, PolicyTimeoutError
from holdstep.policies.chunked.asked_chunks import AskedChunks
from holdstep.policies.chunked.inference import InlineInference
from holdstep.policies.chunked.ledger import ChunkLedger
from holdstep.policies.chunked.request_maker import RequestMaker
from holdstep.policies.chunked.worker_inference import WorkerInference
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, TorchVectorEnv
    from holdstep.policies.chunked.action_source import ActionSource
    from holdstep.policies.chunked.inference import FinishedRequest, Inference
    from holdstep.policies.chunked.protocol import ChunkedPolicy, ChunkResult
    from holdstep.policies.chunked.run_trace import RunTrace
    from holdstep.policies.chunked.schedulers.base import Scheduler
    from holdstep.policies.chunked.statistics import RunnerCounters


class ChunkDesk:
    """Between the rows that need chunks, the scheduler that decides, and the policy that infers.

    Args:
        env: whose rows they are.
        policy: whom to ask.
        scheduler: who says when.
        source: where the chunks go.
        execute: actions of each chunk that are executed.
        seed: of the policy's noise.
        counters: to count in.
        trace: where inferences are traced, if anywhere.
        timeout_s: the longest that :meth:`supply` waits for inference [s]; None for no limit.
        clock: time [s].

    Attributes:
        ledger: the books.
        requests: what the policy is asked.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        policy: ChunkedPolicy,
        scheduler: Scheduler,
        source: ActionSource,
        *,
        execute: int,
        seed: int,
        counters: RunnerCounters,
        trace: RunTrace | None,
        timeout_s: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._scheduler = scheduler
        self._source = source
        self._counters = counters
        self._trace = trace
        self._timeout_s = timeout_s
        self._clock = clock
        self.ledger = ChunkLedger(env.num_envs, execute=execute, handover=scheduler.handover)
        # What hangs in this thread can't be left.
        self._inference: Inference = (
            WorkerInference(policy, device=env.device, clock=clock)
            if scheduler.overlaps or timeout_s is not None
            else InlineInference(policy, clock=clock)
        )
        self._device = env.device
        self._uses_history = policy.spec.uses_history
        self.requests = RequestMaker(
            env, policy.spec, self.ledger, source, seed=seed, max_lead=scheduler.max_lead
        )
        self._waited_before_s = 0.0
        self._tickets = 0
        self._asked: dict[int, AskedChunks] = {}
        self._arrived: deque[FinishedRequest] = deque()

    def start(self, obs: Obs) -> None:
        """All rows begin their first episode."""
        self._asked.clear()  # whatever still comes is nobody's
        self._waited_before_s = 0.0  # the runner counts from here, too
        self.ledger.clear()
        self.ledger.num_late = self.ledger.num_dropped_actions = 0
        self._source.clear()
        self._begin(np.arange(self.ledger.num_envs))
        self.requests.update(obs)

    def begin_episodes(self, rows: np.ndarray, obs: Obs) -> None:
        """Rows, int64 ``[k]``, were reset."""
        self.ledger.begin_episodes(rows)
        self._begin(rows)
        self.requests.update(obs)

    def advance(
        self,
        active_mask: np.ndarray,
        obs: Obs,
        ended_ids: np.ndarray,
        *,
        num_active: int,
        duration_s: float,
    ) -> None:
        """One step of the env was made.

        Args:
            active_mask: rows that advanced, bool ``[N]``.
            obs: what it returned.
            ended_ids: rows whose episode ended, int64 ``[k]``.
            num_active: rows that advanced.
            duration_s: how long it took [s].
        """
        self.ledger.advance(active_mask)
        self.requests.update(obs)
        self._scheduler.saw_step(
            num_active=num_active,
            duration_s=duration_s,
            waited_s=self._counters.waited_s - self._waited_before_s,
            overlapped=bool(self._asked),
        )
        self._waited_before_s = self._counters.waited_s
        if len(ended_ids):
            self.ledger.begin_episodes(ended_ids)
            self._begin(ended_ids)
            self._counters.num_episodes += len(ended_ids)
            self._scheduler.saw_episodes_end(len(ended_ids))
        if self._uses_history:
            self._inference.observe(
                self.requests.all_rows(), torch.from_numpy(active_mask).to(self._device)
            )

    def supply(self) -> np.ndarray:
        """Hand out what has come, ask for what is needed, and wait until some live row can run.

        Returns:
            Live rows that have an action, bool ``[N]``; at least one.

        Raises:
            PolicyError: inference failed; what else had come was handed out.
            PolicyTimeoutError: no row could run in time.
        """
        begin_s = self._clock()
        try:
            self._hand_out(self._inference.finished())
            self._ask()
            while self._must_wait(runnable := self.ledger.runnable_mask):
                if not self._asked:
                    raise PolicyError(
                        f"{self._scheduler!r} asked for nobody while every live row waits for a "
                        "chunk, so nothing could ever be stepped."
                    )
                self._hand_out(self._awaited(begin_s))
                self._ask()
        finally:
            self._counters.waited_s += self._clock() - begin_s
        return runnable

    def close(self) -> None:
        """Stop inference."""
        self._inference.close()

    def _begin(self, rows: np.ndarray) -> None:
        self.requests.begin_episodes(rows)
        self._source.forget(rows)
        self._inference.begin_episodes(
            torch.from_numpy(rows.copy()), torch.from_numpy(self.ledger.episode_ids[rows])
        )

    def _must_wait(self, runnable: np.ndarray) -> bool:
        if self._asked and not self._scheduler.overlaps:  # in a thread only for the time limit
            return True
        return not np.count_nonzero(runnable)

    def _awaited(self, begin_s: float) -> list[FinishedRequest]:
        left_s = None
        if self._timeout_s is not None:
            left_s = max(begin_s + self._timeout_s - self._clock(), 0.0)
        finished = self._inference.wait(left_s)
        if not finished:
            rows = sorted(row for asked in self._asked.values() for row in asked.rows)
            raise PolicyTimeoutError(
                f"No chunk that could be executed came within {self._timeout_s} s; rows "
                f"{shortened(rows)} wait. They stay suspended. Inference goes on: step() again to "
                "wait for it again."
            )
        return finished

    def _ask(self) -> None:
        self.ledger.handover = self._scheduler.handover
        while self.ledger.wants_any:  # seldom
            self.requests.observe()  # also what a chunk that has just come leaves soon
            if self._asked and not self._scheduler.overlaps:
                return
            if len(rows := self._select()) == 0:
                return
            self._submit(rows)
            self._hand_out(self._inference.finished())

    def _select(self) -> np.ndarray:
        view = self.ledger.view()
        rows = self._scheduler.select(view)
        if len(rows) == 0:
            return rows
        rows = np.unique(rows)
        if not view.wanting_mask[rows].all():
            raise ConfigError(
                f"{self._scheduler!r} selected rows {rows.tolist()}, of which "
                f"{rows[~view.wanting_mask[rows]].tolist()} are not in rows.wanting_mask: they are "
                "parked, have actions left, or are being inferred."
            )
        return rows

    def _submit(self, rows: np.ndarray) -> None:
        ledger, scheduler = self.ledger, self._scheduler
        ticket, self._tickets = self._tickets, self._tickets + 1
        everybody = np.flatnonzero(ledger.live_mask) if scheduler.infers_all else rows
        self._asked[ticket] = AskedChunks(
            rows=rows,
            places=np.searchsorted(everybody, rows),
            handover=ledger.handover,
            observed_at=self.requests.observed_at(rows),
        )
        ledger.submit(rows, ticket)
        try:
            self._inference.submit(ticket, self.requests.request(everybody))
        except BaseException:  # an interrupt; nothing will come
            del self._asked[ticket]
            ledger.give_up(rows, ticket)
            raise

    def _hand_out(self, finished: list[FinishedRequest]) -> None:
        self._arrived.extend(finished)
        failed: FinishedRequest | None = None
        while self._arrived:
            request = self._arrived[0]
            asked = self._asked.get(request.ticket)
            if asked is not None and request.result is not None:
                self._install(request.ticket, request.result, asked)
            elif asked is not None:
                self.ledger.give_up(asked.rows, request.ticket)
                failed = failed or request
            # Not before: if that raises, it is tried again, and what came after it is still here.
            self._arrived.popleft()
            self._asked.pop(request.ticket, None)
            if self._trace is not None:
                self._trace.inference(request)
            if asked is not None:  # and not of before a reset, of no interest to this run
                self._count(request)
        if failed is not None:
            raise failed.failure()

    def _install(self, ticket: int, result: ChunkResult, asked: AskedChunks) -> None:
        wanted = self.ledger.wanted_mask(asked.rows, ticket)
        rows = asked.rows[wanted]
        if len(rows) == 0:
            self.ledger.settle(asked.rows, ticket)
            return
        chunks, lengths = asked.chunks(result, wanted)
        splice = self.ledger.splice(rows, lengths, asked.handover)
        self._source.put(
            rows,
            chunks,
            lengths=lengths,
            splice=splice,
            age=self.ledger.row_steps[rows] - asked.observed_at[wanted],
        )
        # Last, so that the books speak of no chunk that could not be put there.
        self.ledger.settle(asked.rows, ticket)
        self.ledger.install(rows, splice)

    def _count(self, finished: FinishedRequest) -> None:
        duration_s = finished.end_s - finished.begin_s
        self._counters.num_inferences += 1
        self._counters.inferred_rows += len(finished.request)
        self._counters.inference_s += duration_s
        if finished.error is None:
            self._scheduler.saw_inference(batch=len(finished.request), duration_s=duration_s)
