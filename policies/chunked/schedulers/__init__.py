"""Who is asked for a chunk, and when."""

from __future__ import annotations

from holdstep.policies.chunked.schedulers.adaptive import Adaptive
from holdstep.policies.chunked.schedulers.any_trigger import AnyTrigger
from holdstep.policies.chunked.schedulers.base import Determinism, Scheduler
from holdstep.policies.chunked.schedulers.cohort import Cohort
from holdstep.policies.chunked.schedulers.continuous import Continuous
from holdstep.policies.chunked.schedulers.global_clock import GlobalClock
from holdstep.policies.chunked.schedulers.prefetch import Prefetch
from holdstep.policies.chunked.schedulers.threshold import Threshold

__all__ = [
    "Adaptive",
    "AnyTrigger",
    "Cohort",
    "Continuous",
    "Determinism",
    "GlobalClock",
    "Prefetch",
    "Scheduler",
    "Threshold",
]
