"""What makes actions beside an env: the protocol, what it is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from holdstep.wrappers.pipeline.events import NO_EVENTS, ExecutionState, SourceEvents

__all__ = [
    "ActionSource",
    "ExecutionState",
    "SourceActions",
    "SourceEvents",
    "SourceRequest",
    "SourceResult",
]

SourceActions: TypeAlias = "torch.Tensor | np.ndarray"


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """What a source is asked: the actions of one frame.

    Everything in it is the source's own: nothing that the env does later changes it (with
    ``mode="sync"``, values are passed as they are). A source that fails and is started again is
    asked the same again, in the same memory: one that can fail should not write into it.

    Attributes:
        frame_id: of this submission; per source, from 0, ascending by one. Frames that were
            replaced before anybody worked on them are missing in what a source sees.
        env_ids: the rows that the source drives, in their order.
        obs: observations of those rows, each ``[k, ...]`` on the env's device (on the CPU for a
            source in a process); None unless ``source.uses_obs``.
        external_inputs: what the host gave for this frame.
        host_events: what happened in the env since the last request that was delivered: resets
            (autoresets too), pause and resume. Each is delivered once.
        sim_time_s: simulated time that the rows have gone through since the env was first reset
            [s]; counts steps where the env has no ``step_dt``. It stands still while all of them
            do.
        real_time_s: when the frame was submitted, on the monotonic clock [s].
    """

    frame_id: int
    env_ids: tuple[int, ...]
    obs: Mapping[str, torch.Tensor] | None = None
    external_inputs: Mapping[str, Any] = field(default_factory=dict)
    host_events: SourceEvents = NO_EVENTS
    sim_time_s: float = 0.0
    real_time_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SourceResult:
    """What a source answers.

    Attributes:
        actions: ``[k, A]`` for the source's rows in their order, or one ``[A]`` for all of them;
            float32 where the env's actions are. None: nothing to apply in this frame.
        events: of the operator, each applied once. What only repeats the request's
            ``host_events`` is recognised, and not applied again, if it names the same rows.
        state: whether the source is driving its rows as of this frame.
        input_time_s: when what the actions rest on was read, on the monotonic clock [s]; None: when
            the computation began.
        end_of_replay: there are no further frames; this is the last one, if it has actions.
        context: whatever belongs to the frame; see ``PipelinedActions.last_context``.
    """

    actions: SourceActions | None
    events: SourceEvents = NO_EVENTS
    state: ExecutionState = ExecutionState.RUNNING
    input_time_s: float | None = None
    end_of_replay: bool = False
    context: Any = None


class ActionSource(Protocol):
    """Makes the actions of one or more rows, too slowly to be waited for in each step.

    Its methods are called one at a time, ``start`` first: all of them from one worker (a thread, or
    the main thread of a process of its own), or from the stepping thread with ``mode="sync"``. A
    source may be started again after ``stop``.

    Three more attributes are looked for. ``lossless`` (bool): every frame counts, as in a replay,
    so none is left out, and steps wait. ``interrupt()``: called from another thread when
    ``compute`` does not return at shutdown; it should make it return. ``action_dim`` (int or None):
    the width of its actions, known before :meth:`start`; one that is not the env's is refused.

    Attributes:
        uses_obs: whether requests are to carry observations. Copying them is not free.
    """

    uses_obs: bool = False

    def start(self, env_ids: tuple[int, ...]) -> None:
        """Get ready to drive these rows."""
        return

    def compute(self, request: SourceRequest) -> SourceResult:
        """Make the actions of a frame; may be slow, and may raise."""
        ...

    def stop(self) -> None:
        """Release what :meth:`start` took; also called after a failure."""
        return
