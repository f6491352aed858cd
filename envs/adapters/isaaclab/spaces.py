"""Observation spaces that tell the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch

from holdstep.envs.observations import space_of
from holdstep.errors import ConfigError

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs


def described(obs: Obs, declared: gymnasium.spaces.Dict) -> gymnasium.spaces.Dict:
    """The declared space where it fits the observations, and what they show where it does not.

    Args:
        obs: a first observation, tensors ``[N, ...]`` by group.
        declared: the single-env space that the task declares.
    """
    shown = space_of(obs).spaces
    spaces = {
        name: declared.spaces[name] if _fits(declared.spaces.get(name), tensor) else shown[name]
        for name, tensor in obs.items()
    }
    return gymnasium.spaces.Dict(spaces)


def _fits(space: gymnasium.Space[Any] | None, tensor: torch.Tensor) -> bool:
    if not isinstance(space, gymnasium.spaces.Box):
        return False  # a Discrete observation, say, comes as a column of numbers
    same_shape = tuple(space.shape) == tuple(tensor.shape[1:])
    if not same_shape or str(space.dtype) != str(tensor.dtype).removeprefix("torch."):
        return False
    if not space.is_bounded("below") and not space.is_bounded("above"):
        return True
    low = torch.as_tensor(space.low, device=tensor.device)
    high = torch.as_tensor(space.high, device=tensor.device)
    return bool(((tensor >= low) & (tensor <= high)).all())


def action_space(space: gymnasium.Space[Any]) -> gymnasium.Space[Any]:
    """The single-env action space in the types of the contract.

    Args:
        space: the backend's.

    Raises:
        ConfigError: it is not one array of numbers per row.
    """
    if isinstance(space, gymnasium.spaces.Box):
        low, high = np.float32(space.low), np.float32(space.high)
        return gymnasium.spaces.Box(low, high, shape=tuple(space.shape), dtype=np.float32)
    if isinstance(space, gymnasium.spaces.Discrete | gymnasium.spaces.MultiDiscrete):
        return space
    raise ConfigError(
        f"The task's action space is {space}. holdstep's envs take one tensor of actions: Box, "
        "Discrete and MultiDiscrete spaces work."
    )
