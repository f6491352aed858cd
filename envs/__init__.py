"""What an env is: the contract, its checker, and the adapters that make simulators keep it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from holdstep.envs.action_guard import ActionGuard
from holdstep.envs.adapt import adapt
from holdstep.envs.capabilities import Capabilities
from holdstep.envs.checker import CheckReport, check_vector_env
from holdstep.envs.contract import TorchVectorEnv
from holdstep.envs.device import canonical_device
from holdstep.envs.env_ids import canonical_env_ids
from holdstep.envs.registry import list_envs, make
from holdstep.envs.state.snapshot import Snapshot

if TYPE_CHECKING:
    from holdstep.envs.views.rsl_rl import RslRlVecEnv
    from holdstep.envs.views.sb3 import Sb3VecEnv
    from holdstep.envs.views.skrl import SkrlEnv

__all__ = [
    "ActionGuard",
    "Capabilities",
    "CheckReport",
    "RslRlVecEnv",
    "Sb3VecEnv",
    "SkrlEnv",
    "Snapshot",
    "TorchVectorEnv",
    "adapt",
    "canonical_device",
    "canonical_env_ids",
    "check_vector_env",
    "list_envs",
    "make",
]

# A view subclasses its RL library's own base class, so it is imported when it is first asked for.
_VIEWS = {
    "RslRlVecEnv": "holdstep.envs.views.rsl_rl",
    "Sb3VecEnv": "holdstep.envs.views.sb3",
    "SkrlEnv": "holdstep.envs.views.skrl",
}


def __getattr__(name: str) -> object:
    if name in _VIEWS:
        return getattr(importlib.import_module(_VIEWS[name]), name)
    raise AttributeError(f"module 'holdstep.envs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
