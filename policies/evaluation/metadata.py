"""What an evaluation says about the circumstances of its result."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import platform
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch

from holdstep._version import __version__

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv


def metadata_of(env: TorchVectorEnv, policy: object) -> dict[str, Any]:
    """The env, the policy, the device, the date, and versions."""
    adapter = env.unwrapped
    return {
        "env": adapter.task_id or type(adapter).__name__,
        "policy": getattr(policy, "__qualname__", type(policy).__name__),
        "device": str(env.device),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    versions = {
        "holdstep": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
    }
    for package in ("mjlab", "mujoco-warp", "isaaclab"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
