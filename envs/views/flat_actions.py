"""Actions of several dimensions, such as chunks, for RL libraries that know vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv


class FlatActions:
    """What a view shows of an env's action space, and the way back.

    An action of shape ``[L, A]`` becomes a vector of ``L * A`` numbers, the first of the ``L``
    first. Actions of at most one dimension stay as they are.

    Args:
        env: the env inside the view.

    Attributes:
        space: the action space of one env, as the view shows it.

    >>> from holdstep.envs import make
    >>> from holdstep.wrappers import ActionChunkReplay, SuspendOnWait
    >>> env = ActionChunkReplay(SuspendOnWait(make("holdstep:PointMass", num_envs=4)), 8)
    >>> env.single_action_space.shape, FlatActions(env).space.shape
    ((8, 2), (16,))
    """

    def __init__(self, env: TorchVectorEnv) -> None:
        self._shape = env.action_space.shape
        self.space = _flat(env.single_action_space)
        flat_shape = (env.num_envs, *(self.space.shape or ()))
        self._flat_shape = None if flat_shape == self._shape else flat_shape  # None: all are flat

    def restore(self, actions: torch.Tensor) -> torch.Tensor:
        """Actions in the env's own shape.

        Args:
            actions: of the view's shape, ``[N, L * A]``; others are returned as they are, for the
                env to say what is wrong with them.
        """
        if self._shape is None or actions.shape != self._flat_shape:
            return actions
        return actions.reshape(self._shape)


def _flat(space: gymnasium.Space[Any]) -> gymnasium.Space[Any]:
    if space.shape is None or len(space.shape) < 2:
        return space
    if isinstance(space, gymnasium.spaces.Box):
        return gymnasium.spaces.Box(
            space.low.ravel(), space.high.ravel(), dtype=space.low.dtype.type
        )
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return gymnasium.spaces.MultiDiscrete(space.nvec.ravel(), start=space.start.ravel())
    if isinstance(space, gymnasium.spaces.MultiBinary):
        return gymnasium.spaces.MultiBinary(int(np.prod(space.shape)))
    return space
