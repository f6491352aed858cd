"""Inference in a thread of its own, beside the simulation."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch

from holdstep.policies.chunked.inference import Clock, FinishedRequest, Inference
from holdstep.torch_threads import obey_num_threads

if TYPE_CHECKING:
    from holdstep.policies.chunked.protocol import ChunkedPolicy, ChunkRequest, ChunkResult

_Jobs: TypeAlias = "queue.SimpleQueue[Callable[[], None] | None]"


class WorkerInference(Inference):
    """Infers in a thread, while the caller steps the env.

    All calls of the policy are made by that thread, in order, so the policy needs no locks. On a
    GPU they are made on a stream of their own, which waits for the observations; the results are
    complete when they are handed out. A request's tensors are the thread's until it has ended.

    Python runs in one thread at a time: a policy that is busy in Python slows the steps down. One
    that waits (for a GPU, or a server) doesn't.

    The thread ends with :meth:`close`, or when this object is thrown away.

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
        self._jobs: _Jobs = queue.SimpleQueue()
        self._results: queue.SimpleQueue[FinishedRequest] = queue.SimpleQueue()
        closed = threading.Event()
        # While it waits for jobs, the thread knows nothing of this object and its policy, which
        # would otherwise live as long as the process if nobody called close().
        self._thread = threading.Thread(
            target=_work,
            args=(self._jobs, closed, self._stream),
            name="holdstep-inference",
            daemon=True,
        )
        self._stop = weakref.finalize(self, _stop, self._jobs, closed)
        self._stop.atexit = False
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
        self._stop()
        self._thread.join(timeout=1.0)


def _work(jobs: _Jobs, closed: threading.Event, stream: torch.cuda.Stream | None) -> None:
    obey_num_threads()
    with contextlib.nullcontext() if stream is None else torch.cuda.stream(stream):
        while (job := jobs.get()) is not None:
            if not closed.is_set():
                job()
            del job  # or its request's images would live until the next one comes


def _stop(jobs: _Jobs, closed: threading.Event) -> None:
    closed.set()
    jobs.put(None)


def _taken(finished: FinishedRequest) -> FinishedRequest:
    """A result for use in this thread's stream."""
    actions = None if finished.result is None else finished.result.actions
    if actions is not None and actions.is_cuda:
        # Its memory is the inference stream's, where the next inference would get it as soon as it
        # is let go of here, though it may still be read.
        actions.record_stream(torch.cuda.current_stream(actions.device))
    return finished
