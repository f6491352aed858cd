"""When work on a request begins: at once, a margin before it is needed, or as late as it may."""

from __future__ import annotations

from holdstep.wrappers.pipeline.pacing.adaptive import Adaptive, AdaptivePacer
from holdstep.wrappers.pipeline.pacing.deadline import Deadline, DeadlinePacer
from holdstep.wrappers.pipeline.pacing.immediate import Immediate, ImmediatePacer
from holdstep.wrappers.pipeline.pacing.pacer import Pacer, Pacing

__all__ = [
    "Adaptive",
    "AdaptivePacer",
    "Deadline",
    "DeadlinePacer",
    "Immediate",
    "ImmediatePacer",
    "Pacer",
    "Pacing",
]
