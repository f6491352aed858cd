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
    from holdstep.envs.deployment.deployment_env import DeploymentEnv
    from holdstep.envs.deployment.isaaclab_host import IsaacLabHost
    from holdstep.envs.deployment.mjlab_host import MjlabHost
    from holdstep.envs.deployment.mujoco_host import MujocoHost
    from holdstep.envs.history_ring import HistoryRing
    from holdstep.envs.views.rsl_rl import RslRlVecEnv
    from holdstep.envs.views.sb3 import Sb3VecEnv
    from holdstep.envs.views.skrl import SkrlEnv

__all__ = [
    "ActionGuard",
    "Capabilities",
    "CheckReport",
    "DeploymentEnv",
    "HistoryRing",
    "IsaacLabHost",
    "MjlabHost",
    "MujocoHost",
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

# A view subclasses its RL library's own base class, and a deployment needs no training env: each is
# imported when it is first asked for.
_LAZY = {
    "DeploymentEnv": "holdstep.envs.deployment.deployment_env",
    "HistoryRing": "holdstep.envs.history_ring",
    "IsaacLabHost": "holdstep.envs.deployment.isaaclab_host",
    "MjlabHost": "holdstep.envs.deployment.mjlab_host",
    "MujocoHost": "holdstep.envs.deployment.mujoco_host",
    "RslRlVecEnv": "holdstep.envs.views.rsl_rl",
    "Sb3VecEnv": "holdstep.envs.views.sb3",
    "SkrlEnv": "holdstep.envs.views.skrl",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'holdstep.envs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
