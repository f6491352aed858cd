"""Whether what a source answers can be used; its actions have a check of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from holdstep.errors import SourceError
from holdstep.wrappers.pipeline.events import ExecutionState, SourceEvents
from holdstep.wrappers.pipeline.source import SourceResult
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    from holdstep.wrappers.pipeline.source import SourceRequest


def check_answer(result: Any, request: SourceRequest) -> None:
    """Check all of an answer but its actions and its context.

    Args:
        result: what ``compute()`` returned.
        request: what it was asked.

    Raises:
        SourceError: it is no ``SourceResult``, one with entries of other types, or one that resets
            rows of other sources.
    """
    problem = _problem(result, request.env_ids)
    if problem is not None:
        raise SourceError(problem, env_ids=request.env_ids, frame_id=request.frame_id)


def _problem(result: Any, env_ids: tuple[int, ...]) -> str | None:
    if not isinstance(result, SourceResult):
        return (
            f"compute() must return a SourceResult, got {type(result).__name__}. A function "
            "that returns actions becomes a source by FunctionSource(fn)."
        )
    if not isinstance(result.events, SourceEvents):
        return f"result.events must be SourceEvents, got {result.events!r}."
    if not isinstance(result.state, ExecutionState):
        return f"result.state must be an ExecutionState, got {result.state!r}."
    time_s: object = result.input_time_s
    if time_s is not None and not (isinstance(time_s, int | float) and math.isfinite(time_s)):
        return f"result.input_time_s must be None or seconds, got {time_s!r}."
    others = sorted(set(result.events.reset_env_ids).difference(env_ids))
    if others:
        return (
            f"It resets rows {shortened(others)}, which it does not drive; its rows are "
            f"{shortened(env_ids)}."
        )
    return None
