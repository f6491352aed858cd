"""Action spaces with finite bounds, for RL libraries that scale their actions to them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from holdstep.errors import ConfigError

_UNBOUNDED_ACTION = 100.0
"""Stands in for an infinite action bound, which Stable-Baselines3 refuses; Isaac Lab's choice."""


def finite_space(space: gymnasium.Space[Any], clip_actions: float | None) -> gymnasium.Space[Any]:
    """The space with finite bounds.

    Args:
        space: of the actions of one env.
        clip_actions: largest absolute action; None leaves finite bounds, and takes 100 elsewhere.

    Raises:
        ConfigError: ``clip_actions`` can't be used for this space.
    """
    if clip_actions is not None and not 0 < clip_actions < float("inf"):
        raise ConfigError(f"clip_actions must be positive and finite, got {clip_actions!r}.")
    if not isinstance(space, gymnasium.spaces.Box):
        if clip_actions is not None:
            raise ConfigError(f"clip_actions is for continuous actions; the space is {space}.")
        return space
    if clip_actions is None:
        low = np.where(np.isfinite(space.low), space.low, -_UNBOUNDED_ACTION)
        high = np.where(np.isfinite(space.high), space.high, _UNBOUNDED_ACTION)
    else:
        low, high = np.maximum(space.low, -clip_actions), np.minimum(space.high, clip_actions)
    if not (low < high).all():
        raise ConfigError(f"clip_actions={clip_actions!r} leaves nothing of {space}.")
    dtype = space.low.dtype
    return gymnasium.spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type)
