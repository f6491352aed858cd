"""Simulator-free envs: small, exact, and able to do all that the contract knows.

They are the backend ``holdstep:`` (``holdstep.envs.make("holdstep:CartPole")``), and registered
with Gymnasium as ``holdstep/CartPole-v0`` and ``holdstep/PointMass-v0``.
"""

from __future__ import annotations

import inspect
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from holdstep.envs.reference.base import ReferenceEnv
from holdstep.envs.reference.cartpole import CartPole
from holdstep.envs.reference.point_mass import PointMass
from holdstep.envs.registry import unknown_env
from holdstep.errors import ConfigError, nearest_names

if TYPE_CHECKING:
    import torch

__all__ = ["CartPole", "PointMass", "ReferenceEnv", "env_names", "make_env"]

_ENVS = MappingProxyType({"CartPole": CartPole, "PointMass": PointMass})


def env_names() -> list[str]:
    """Names of the reference envs."""
    return sorted(_ENVS)


def make_env(
    name: str,
    *,
    num_envs: int,
    device: torch.device,
    seed: int | None,
    render_mode: str | None,
    **overrides: Any,
) -> ReferenceEnv:
    """Build a reference env.

    Args:
        name: one of :func:`env_names`.
        num_envs: number of rows.
        device: where everything lives.
        seed: of the random streams; None draws one.
        render_mode: None or ``"rgb_array"``.
        **overrides: ``max_episode_length``, the time limit [env steps].

    Raises:
        UnknownEnvError: no such env.
        ConfigError: an override that the env does not have, or a value that it can't use.
    """
    if name not in _ENVS:
        raise unknown_env("holdstep", name, env_names())
    env_class = _ENVS[name]
    fixed = {"num_envs": num_envs, "device": device, "seed": seed, "render_mode": render_mode}
    known = inspect.signature(env_class).parameters.keys() - fixed.keys()
    for override in overrides:
        if override not in known:
            raise ConfigError(
                f"holdstep:{name} has no setting {override!r}."
                + (nearest_names(override, known) or f" It has: {', '.join(sorted(known))}.")
            )
    return env_class(**fixed, **overrides)  # type: ignore[arg-type]
