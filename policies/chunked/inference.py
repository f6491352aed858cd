"""How a policy is asked for chunks, and in the simplest way: in the caller's thread."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from holdstep.errors import PolicyError
from holdstep.policies.chunked.check_result import checked_result, joined
from holdstep.policies.chunked.protocol import ChunkRequest, ChunkResult, ObservingPolicy
from holdstep.wrappers.waits import shortened

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

    def failure(self) -> PolicyError:
        """What a runner raises of the error, which names the rows."""
        error, rows = self.error, shortened(self.request.env_ids.tolist())
        if isinstance(error, PolicyError):  # says what to do already
            error.add_note(
                f"Rows {rows} stay suspended, and are asked for again by the next step()."
            )
            return error
        failure = PolicyError(
            f"Inference for rows {rows} failed ({type(error).__name__}: {error}). They stay "
            "suspended, and are asked for again by the next step()."
        )
        failure.__cause__ = error
        return failure


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
