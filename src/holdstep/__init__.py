"""Composable wrappers around batched robot simulators.

``holdstep.envs`` says what an env is and adapts simulators to it, ``holdstep.wrappers`` is what can
be stacked on one, ``holdstep.policies`` is what produces actions, ``holdstep.timeline`` shows what
a run did with its time, ``holdstep.monitor`` what a stack is doing now, ``holdstep.distributed``
which of several processes this is. Importing this package imports neither torch nor a simulator.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from holdstep._version import __version__
from holdstep.gym_registration import register

if TYPE_CHECKING:
    from holdstep.monitor import stats
    from holdstep.policies.evaluation import EvalResult, evaluate

__all__ = [
    "EvalResult",
    "__version__",
    "distributed",
    "envs",
    "errors",
    "evaluate",
    "monitor",
    "policies",
    "stats",
    "timeline",
    "wrappers",
]

_SUBMODULES = frozenset(
    {"distributed", "envs", "errors", "monitor", "policies", "timeline", "wrappers"}
)
_FROM_POLICIES = frozenset({"EvalResult", "evaluate"})

register()


def __getattr__(name: str) -> object:
    if name in _SUBMODULES:
        return importlib.import_module(f"holdstep.{name}")
    if name == "stats":
        return importlib.import_module("holdstep.monitor").stats
    if name in _FROM_POLICIES:
        return getattr(importlib.import_module("holdstep.policies"), name)
    raise AttributeError(f"module 'holdstep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
