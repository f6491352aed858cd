"""What belongs to a frame of a session besides its actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class FrameContext:
    """What ``PipelinedActions.last_context`` has of the frame that was applied.

    The first two are those of isaacteleop's ``ComputeContext``.

    Attributes:
        graph_time: simulated time, and when the frame was submitted; a ``GraphTime``.
        execution_events: what retargeters were told, ``ExecutionEvents``.
        outputs: the outputs of the pipeline that were asked for by ``extra_outputs``, each a
            ``TensorGroup``.
    """

    graph_time: Any
    execution_events: Any
    outputs: Mapping[str, Any]

    @classmethod
    def of(cls, context: Any, outputs: Mapping[str, Any]) -> FrameContext:
        """What there is to a frame.

        Args:
            context: its ``ComputeContext``.
            outputs: those that were asked for.
        """
        return cls(
            graph_time=context.graph_time,
            execution_events=context.execution_events,
            outputs=outputs,
        )
