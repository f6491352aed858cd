"""A request on its way to a source, and the frame that comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from holdstep.wrappers.pipeline.events import NO_EVENTS, SourceEvents
from holdstep.wrappers.pipeline.source import SourceRequest, SourceResult
from holdstep.wrappers.pipeline.worker_stream import nothing


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A request, and what is known of it.

    Attributes:
        request: what the source is asked.
        submitted_s: when it was submitted [s].
        num_row_steps: steps that the source's rows had made by then.
        take_over: called by the worker before it reads the request's tensors, which may still be
            under way on a GPU.
    """

    request: SourceRequest
    submitted_s: float
    num_row_steps: int
    take_over: Callable[[], None] = nothing

    def with_earlier(self, host_events: SourceEvents) -> Submission:
        """The same, delivering the host's events of a request that nobody worked on, too."""
        if not host_events:
            return self
        merged = host_events.merged_with(self.request.host_events)
        return replace(self, request=replace(self.request, host_events=merged))


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What came of a request; the request itself, which may hold images, is not kept.

    Attributes:
        frame_id: of the request.
        submitted_s: when it was submitted [s].
        num_row_steps: steps that the source's rows had made by then.
        host_events: that the source was told of.
        result: the source's answer, in memory that nobody else writes to.
        actions: checked, ``[k, A]`` on the env's device; None if there are none.
        begin_s: when the computation began [s].
        end_s: when it ended [s].
    """

    frame_id: int
    submitted_s: float
    num_row_steps: int
    host_events: SourceEvents
    result: SourceResult
    actions: torch.Tensor | None
    begin_s: float
    end_s: float

    @property
    def input_time_s(self) -> float:
        """When what the actions rest on was read [s]."""
        time_s = self.result.input_time_s
        return self.begin_s if time_s is None else time_s


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A source has failed.

    Attributes:
        error: what it raised, or what was wrong with its answer.
        frame_id: of the request that it was working on; None outside of one.
    """

    error: BaseException
    frame_id: int | None


@dataclass(frozen=True, kw_only=True)
class OperatorNews:
    """What an operator did.

    Attributes:
        frame_id: of the frame that brings it.
        events: without echoes of the host's.
    """

    frame_id: int
    events: SourceEvents


class News(NamedTuple):
    """What a worker did since it was last asked.

    Attributes:
        frame: the newest frame, which may be an old one; None before the first.
        host_events: that were delivered in the meantime, by any frame.
        operator_news: what frames brought in the meantime, in their order. Not as one delivery: a
            mark after a reset is of another episode than one before it.
        failure: why the source does not run; None while it does.
    """

    frame: Frame | None = None
    host_events: SourceEvents = NO_EVENTS
    operator_news: tuple[OperatorNews, ...] = ()
    failure: Failure | None = None
