"""Where inference happens: in the caller's thread, or in one of its own beside the simulation."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from holdstep.policies.chunked.check_result import checked_result, joined
from holdstep.policies.chunked.protocol import ChunkRequest, ChunkResult, ObservingPolicy

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs
    from holdstep.policies.chunked.protocol import ChunkedPolicy

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class FinishedRequest:
    """An inference that has ended, well or not.

    Attributes:
        ticket: as it was submitted.
        request: likewise.
        result: the chunks, or None when it failed.
        error: why it failed, or None.
        submitted_s: when it was asked for, when it was begun, and when it ended [s].
        begin_s: see above.
        end_s: see above.
    """

    ticket: int
    request: ChunkRequest
    result: ChunkResult | None
    error: BaseException | None
    submitted_s: float
    begin_s: float
    end_s: float


class Inference(ABC):
    """Asks a policy for chunks, one request after another.

    Args:
        policy: whom to ask.
        clock: time [s].
    """

    def __init__(self, policy: ChunkedPolicy, *, clock: Clock = time.perf_counter) -> None:
        self._policy = policy
        self._clock = clock
        # What the policy has not been told yet; touched by whoever calls it alone.
        self._untold: deque[Callable[[], None]] = deque()

    @abstractmethod
    def submit(self, ticket: int, request: ChunkRequest) -> None:
        """Ask for chunks."""

    def begin_episodes(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """Tell the policy, after what has been submitted so far, that rows begin new episodes.

        If that fails, it is tried again before the next inference, whose failure it is then.
        """
        self._tell_next(lambda: self._policy.reset(env_ids, episode_ids), ())

    def observe(self, obs: Obs, active_mask: torch.Tensor) -> None:
        """Tell the policy likewise what rows see after a step."""
        policy = self._policy
        assert isinstance(policy, ObservingPolicy)
        self._tell_next(lambda: policy.observe(obs, active_mask), (*obs.values(), active_mask))

    @abstractmethod
    def _tell_next(self, call: Callable[[], None], tensors: Sequence[torch.Tensor]) -> None:
        """Make a call that returns nothing, in its turn; it reads these tensors."""

    @abstractmethod
    def finished(self) -> list[FinishedRequest]:
        """What has ended since the last call, at once."""

    @abstractmethod
    def wait(self, timeout_s: float | None) -> list[FinishedRequest]:
        """As :meth:`finished`, but waits for a first one; empty only when the time is over."""

    def close(self) -> None:  # noqa: B027
        """Stop; what has not been begun is never asked for."""

    def _tell(self) -> None:
        while self._untold:
            self._untold[0]()
            self._untold.popleft()

    def _ask(self, request: ChunkRequest) -> ChunkResult:
        self._tell()
        return infer_in_batches(self._policy, request)

    def _finish(
        self,
        ticket: int,
        request: ChunkRequest,
        *,
        submitted_s: float,
        ask: Callable[[ChunkRequest], ChunkResult],
        caught: type[BaseException],
    ) -> FinishedRequest:
        begin_s = self._clock()
        result: ChunkResult | None = None
        error: BaseException | None = None
        try:
            result = ask(request)
        except caught as failure:  # whatever the policy is made of raises
            error = failure
        return FinishedRequest(
            ticket=ticket,
            request=request,
            result=result,
            error=error,
            submitted_s=submitted_s,
            begin_s=begin_s,
            end_s=self._clock(),
        )


class InlineInference(Inference):
    """Infers in the caller's thread, before ``submit`` returns."""

    def __init__(self, policy: ChunkedPolicy, *, clock: Clock = time.perf_counter) -> None:
        super().__init__(policy, clock=clock)
        self._finished: list[FinishedRequest] = []

    def submit(self, ticket: int, request: ChunkRequest) -> None:
        """Infer."""
        finished = self._finish(
            # Not a KeyboardInterrupt, which is the caller's.
            ticket,
            request,
            submitted_s=self._clock(),
            ask=self._ask,
            caught=Exception,
        )
        self._finished.append(finished)

    def _tell_next(self, call: Callable[[], None], tensors: Sequence[torch.Tensor]) -> None:
        self._untold.append(call)
        with contextlib.suppress(Exception):  # the step that was made is not to be lost for it
            self._tell()

    def finished(self) -> list[FinishedRequest]:
        """What was submitted since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def wait(self, timeout_s: float | None) -> list[FinishedRequest]:
        """The same: everything has ended."""
        return self.finished()


class WorkerInference(Inference):
    """Infers in a thread, while the caller steps the env.

    All calls of the policy are made by that thread, in order, so the policy needs no locks. On a
    GPU they are made on a stream of their own, which waits for the observations; the results are
    complete when they are handed out. A request's tensors are the thread's until it has ended.

    Python runs in one thread at a time: a policy that is busy in Python slows the steps down. One
    that waits (for a GPU, or a server) doesn't.

    Args:
        policy: whom to ask.
        device: of the env.
        clock: time [s].
    """

    def __init__(
        self,
        policy: ChunkedPolicy,
        *,
        device: torch.device,
        clock: Clock = time.perf_counter,
    ) -> None:
        super().__init__(policy, clock=clock)
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[FinishedRequest] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="holdstep-inference", daemon=True)
        self._thread.start()

    def submit(self, ticket: int, request: ChunkRequest) -> None:
        """Have the thread infer."""
        submitted_s = self._clock()
        tensors = list(request.obs.values())
        if request.prefix is not None:
            tensors.append(request.prefix)
        take_over = self._hand_over(tensors)

        def ask(request: ChunkRequest) -> ChunkResult:
            take_over()
            return self._ask(request)

        def job() -> None:
            # Whatever it is: if it ended the thread instead, the caller would wait for ever.
            finished = self._finish(
                ticket, request, submitted_s=submitted_s, ask=ask, caught=BaseException
            )
            self._results.put(finished)

        self._jobs.put(job)

    def _tell_next(self, call: Callable[[], None], tensors: Sequence[torch.Tensor]) -> None:
        take_over = self._hand_over(tensors)

        def job() -> None:
            take_over()
            self._untold.append(call)
            with contextlib.suppress(BaseException):
                self._tell()

        self._jobs.put(job)

    def _hand_over(self, tensors: Sequence[torch.Tensor]) -> Callable[[], None]:
        """What the thread calls before it reads tensors that this thread's stream makes."""
        stream = self._stream
        if stream is None:
            return lambda: None
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record(torch.cuda.current_stream(stream.device))

        def take_over() -> None:
            stream.wait_event(ready)
            for tensor in tensors:
                if tensor.is_cuda:
                    tensor.record_stream(stream)

        return take_over

    def finished(self) -> list[FinishedRequest]:
        """What the thread has ended by now."""
        finished = []
        while not self._results.empty():
            finished.append(_taken(self._results.get()))
        return finished

    def wait(self, timeout_s: float | None) -> list[FinishedRequest]:
        """Wait for the thread."""
        try:
            first = self._results.get(timeout=timeout_s)
        except queue.Empty:
            return []
        return [_taken(first), *self.finished()]

    def close(self) -> None:
        """End the thread after the call that it is in; a hanging one dies with the process."""
        self._closed.set()
        self._jobs.put(None)
        self._thread.join(timeout=1.0)

    def _work(self) -> None:
        with contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            while (job := self._jobs.get()) is not None:
                if not self._closed.is_set():
                    job()
                del job  # or its request's images would live until the next one comes


def _taken(finished: FinishedRequest) -> FinishedRequest:
    """A result for use in this thread's stream."""
    actions = None if finished.result is None else finished.result.actions
    if actions is not None and actions.is_cuda:
        # Its memory is the inference stream's, where the next inference would get it as soon as it
        # is let go of here, though it may still be read.
        actions.record_stream(torch.cuda.current_stream(actions.device))
    return finished


def infer_in_batches(policy: ChunkedPolicy, request: ChunkRequest) -> ChunkResult:
    """Ask a policy for chunks, in parts of at most ``spec.max_batch`` rows, and check the answer.

    The chunks are complete when this returns, on a GPU too.

    Raises:
        PolicyError: the answer does not fit ``policy.spec`` and the request.
    """
    step = policy.spec.max_batch or len(request)
    results = []
    for start in range(0, len(request), step):
        part = request.rows(start, min(start + step, len(request)))
        # Modes are a thread's own: without this, what infers under the caller's inference_mode()
        # would fail in a worker.
        with torch.no_grad():
            results.append(checked_result(policy.infer(part), part, policy.spec))
    result = joined(results)
    if result.actions.device.type == "cuda":
        torch.cuda.current_stream(result.actions.device).synchronize()
    return result
