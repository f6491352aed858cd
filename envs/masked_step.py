"""What a step of only some rows is given: a mask, and actions that may be anything elsewhere."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch

from holdstep.errors import InvalidEnvIdsError


def check_active_mask(mask: torch.Tensor, *, num_envs: int, device: torch.device) -> None:
    """Refuse what is no mask of the rows of an env.

    Args:
        mask: should be bool ``[num_envs]`` on ``device``.
        num_envs: number of rows.
        device: where the env's tensors live.

    Raises:
        InvalidEnvIdsError: another type, dtype, shape or device.
    """
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise InvalidEnvIdsError(f"active_mask must be a bool tensor, got {kind}.")
    if mask.shape != (num_envs,) or mask.device != device:
        raise InvalidEnvIdsError(
            f"active_mask must have shape ({num_envs},) on {device}, "
            f"got {tuple(mask.shape)} on {mask.device}."
        )


def without_held_rows(
    actions: torch.Tensor | np.ndarray, active_mask: torch.Tensor, idle: torch.Tensor
) -> torch.Tensor | np.ndarray:
    """The actions with valid ones for the rows that are not active.

    What an :class:`~holdstep.envs.ActionGuard` refuses whatever the rows hold (another type, shape
    or device) is returned as it is, for the guard to say what is wrong with it.

    Args:
        actions: what the user gave.
        active_mask: bool ``[N]``.
        idle: valid actions of all rows.

    Returns:
        A new tensor of the same dtype; the user's is not changed.
    """
    if isinstance(actions, np.ndarray):
        if actions.dtype.kind not in "fiu" or actions.shape != idle.shape:
            return actions
        array_mask = active_mask.cpu().numpy().reshape(-1, *[1] * (actions.ndim - 1))
        array: np.ndarray = np.where(array_mask, actions, idle.cpu().numpy().astype(actions.dtype))
        return array
    if not isinstance(actions, torch.Tensor) or (
        actions.shape != idle.shape
        or actions.device != idle.device
        or actions.layout != torch.strided
    ):
        return actions
    mask = active_mask.reshape(-1, *[1] * (actions.ndim - 1))
    return torch.where(mask, actions.detach(), idle.to(actions.dtype))


def idle_actions(space: gymnasium.Space[Any], device: torch.device) -> torch.Tensor:
    """Valid actions of all rows, float32 or int64 of the space's shape, for rows that do not step.

    Args:
        space: a batched action space.
        device: where the env's tensors live.
    """
    assert space.shape is not None
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return torch.zeros(space.shape, device=device)
    lowest: Any = 0
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        lowest = space.start
    elif isinstance(space, gymnasium.spaces.Box):
        lowest = space.low
    return torch.as_tensor(np.broadcast_to(lowest, space.shape).astype(np.int64)).to(device)
