"""What Isaac Lab returns, as plain tensors that belong to the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.observations import flatten_groups

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs


def owned_obs(obs: Mapping[str, Any]) -> Obs:
    """Observations by flat group name, each in memory of its own.

    Args:
        obs: groups; a group is a tensor, a proxy of one (Isaac Lab 3), or a mapping or tuple of
            groups. A tuple's parts are named by their number.
    """
    return flatten_groups(owned(_as_groups(obs)))


def owned(value: Any) -> Any:
    """A copy of every tensor in a value; mappings become dictionaries, other things stay."""
    tensor = as_tensor(value)
    if tensor is not None:
        return tensor.detach().clone()
    if isinstance(value, Mapping):
        return {key: owned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [owned(item) for item in value]
    if type(value) is tuple:
        return tuple(owned(item) for item in value)
    return value


def owned_vector(value: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """One number per row, ``[N]``, in memory of its own."""
    tensor = as_tensor(value)
    if tensor is None:
        tensor = torch.as_tensor(value)
    return tensor.detach().to(device=device, dtype=dtype, copy=True).reshape(-1)


def as_tensor(value: Any) -> torch.Tensor | None:
    """The tensor that a value is or stands for: a tensor, Isaac Lab 3's proxy, a Warp array."""
    if isinstance(value, torch.Tensor):
        return value
    kind = type(value)
    if kind.__name__ == "ProxyArray":
        value = value.torch
        return value if isinstance(value, torch.Tensor) else None
    if kind.__module__.partition(".")[0] == "warp" and kind.__name__ == "array":
        import warp

        tensor: torch.Tensor = warp.to_torch(value)
        return tensor
    return None


def _as_groups(obs: Any) -> Any:
    if isinstance(obs, Mapping):
        return {str(name): _as_groups(value) for name, value in obs.items()}
    if isinstance(obs, tuple | list):
        return {str(index): _as_groups(value) for index, value in enumerate(obs)}
    return obs
