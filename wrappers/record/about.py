"""What a dataset says about the env that it was recorded from."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdstep.envs.contract import TorchVectorEnv

_GYMNASIUM_ENV = 2  # robomimic's number of this kind of env
_PACKAGES = ("holdstep", "torch", "gymnasium", "mjlab", "mujoco", "isaaclab", "isaacsim")


def about(env: TorchVectorEnv, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a dataset.

    Args:
        env: the adapter.
        attributes: the user's; they win.

    Returns:
        ``task``, ``versions``, and ``env_args`` as Isaac Lab and robomimic look for them.
    """
    task = env.task_id or type(env.unwrapped).__name__
    return {
        "task": task,
        "versions": _versions(),
        "env_args": {
            "env_name": task,
            "type": _GYMNASIUM_ENV,
            "sim_args": _sim_args(env),
            **env.scene_state_attributes,
        },
        **attributes,
    }


def _sim_args(env: TorchVectorEnv) -> dict[str, Any]:
    sim = getattr(env.cfg, "sim", None)
    found = {
        "dt": getattr(sim, "dt", None),
        "decimation": getattr(env.cfg, "decimation", None),
        "render_interval": getattr(sim, "render_interval", None),
    }
    numbers = {name: value for name, value in found.items() if isinstance(value, int | float)}
    return {"num_envs": env.num_envs, "step_dt": env.step_dt, **numbers}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
