"""Composable wrappers around batched robot simulators.

``holdstep.envs`` says what an env is and adapts simulators to it, ``holdstep.wrappers`` is what can
be stacked on one, ``holdstep.policies`` is what produces actions. Importing this package imports
neither torch nor a simulator.
"""

from __future__ import annotations

import importlib

from holdstep._version import __version__
from holdstep.gym_registration import register

__all__ = ["__version__", "envs", "errors", "policies", "wrappers"]

_SUBMODULES = frozenset({"envs", "errors", "policies", "wrappers"})

register()


def __getattr__(name: str) -> object:
    if name in _SUBMODULES:
        return importlib.import_module(f"holdstep.{name}")
    raise AttributeError(f"module 'holdstep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
