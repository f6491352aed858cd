"""One computation of a source: its answer checked, and copied out of the source's reach."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.vector.utils import batch_space

from holdstep.envs.action_guard import ActionGuard
from holdstep.wrappers.pipeline.answers import check_answer
from holdstep.wrappers.pipeline.frame import Frame
from holdstep.wrappers.pipeline.snapshots import snapshot
from holdstep.wrappers.pipeline.source import ActionSource, SourceResult
from holdstep.wrappers.pipeline.worker_stream import WorkerStream
from holdstep.wrappers.waits import WaitClock

if TYPE_CHECKING:
    import gymnasium

    from holdstep.wrappers.pipeline.frame import Submission
    from holdstep.wrappers.pipeline.source import SourceRequest


class CheckedActions:
    """Actions of some rows as an env takes them, or an error that says what is wrong with them.

    Args:
        single_action_space: of one row.
        num_rows: k.
        device: of the env.
    """

    def __init__(
        self, single_action_space: gymnasium.Space[Any], *, num_rows: int, device: torch.device
    ) -> None:
        self._single_shape = tuple(single_action_space.shape or ())
        self._num_rows = num_rows
        self._device = device
        # On the CPU, whatever the env's device: there values can be looked at at once.
        space = batch_space(single_action_space, num_rows)
        self._guard = ActionGuard(space, torch.device("cpu"))

    def __call__(self, actions: Any) -> torch.Tensor:
        """The actions ``[k, A]`` on the env's device, in memory of their own.

        Args:
            actions: ``[k, A]``, or ``[A]`` for all rows; a tensor on any device, or an array.

        Raises:
            InvalidActionError: another type, shape or dtype, or a value that is not finite.
        """
        shape = getattr(actions, "shape", None)
        if shape is not None and tuple(shape) == self._single_shape:
            actions = actions[None]
            if isinstance(actions, np.ndarray):
                actions = np.broadcast_to(actions, (self._num_rows, *self._single_shape))
            else:
                actions = actions.expand(self._num_rows, *self._single_shape)
        if not isinstance(actions, torch.Tensor):
            checked = self._guard.check(actions)  # which copies an array
            return checked.to(self._device)
        with torch.inference_mode(False):
            checked = actions.detach()
            self._guard.check(checked.cpu())
            moved = checked.to(self._device)
            return moved.clone() if moved.data_ptr() == actions.data_ptr() else moved


@dataclass(frozen=True, kw_only=True)
class Computing:
    """How a worker computes frames.

    Attributes:
        source: whose answers they are.
        check: of its actions.
        clock: time.
        copies: whether contexts are copied, because the source goes on while they are read; actions
            are in any case, since steps may repeat them when the source has gone on.
        stream: of the worker; None where that is the stepping thread.
    """

    source: ActionSource
    check: CheckedActions
    clock: WaitClock
    copies: bool
    stream: WorkerStream | None = None

    def frame(self, submission: Submission) -> Frame:
        """Compute a frame.

        Raises:
            SourceError: the source returned something else than a ``SourceResult``, or one that
                says what can't be.
            InvalidActionError: with actions that can't be applied.
            UncopyableValueError: or with a context that can't be copied.
            Exception: whatever the source raised.
        """
        request = submission.request
        submission.take_over()
        begin_s = self.clock.now()
        result, actions = self._checked(self.source.compute(request), request)
        if self.stream is not None:
            self.stream.complete()
        return Frame(
            frame_id=request.frame_id,
            submitted_s=submission.submitted_s,
            num_row_steps=submission.num_row_steps,
            host_events=request.host_events,
            result=result,
            actions=actions,
            begin_s=begin_s,
            end_s=self.clock.now(),
        )

    def _checked(
        self, result: Any, request: SourceRequest
    ) -> tuple[SourceResult, torch.Tensor | None]:
        check_answer(result, request)
        actions = result.actions
        checked = None if actions is None else self.check(actions)
        if self.copies and result.context is not None:
            result = replace(result, context=snapshot(result.context, "result.context"))
        # The frame has them in their final form.
        return (result if actions is None else replace(result, actions=None)), checked
