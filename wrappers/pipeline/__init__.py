"""Slow sources of actions beside an env: what they are, are asked, and answer."""

from holdstep.wrappers.pipeline.events import ExecutionState, SourceEvents
from holdstep.wrappers.pipeline.function_source import FunctionSource
from holdstep.wrappers.pipeline.groups import SourceGroup
from holdstep.wrappers.pipeline.pacing import Adaptive, Deadline, Immediate
from holdstep.wrappers.pipeline.source import ActionSource, SourceRequest, SourceResult

__all__ = [
    "ActionSource",
    "Adaptive",
    "Deadline",
    "ExecutionState",
    "FunctionSource",
    "Immediate",
    "SourceEvents",
    "SourceGroup",
    "SourceRequest",
    "SourceResult",
]
