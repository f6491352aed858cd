"""Observation dictionaries: flattening of nested groups, and the spaces that describe them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector.utils import batch_space

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs


def flatten_groups(obs: Mapping[str, Any], prefix: str = "") -> Obs:
    """Nested observation groups as one level, ``{"camera": {"rgb": t}}`` to ``{"camera/rgb": t}``.

    Args:
        obs: tensors ``[N, ...]``, or mappings of them, by name.
        prefix: what the names get in front.

    Returns:
        The same tensor objects (no copy) by flat name.

    >>> flatten_groups({"a": torch.zeros(1), "b": {"c": torch.zeros(1)}}).keys()
    dict_keys(['a', 'b/c'])
    """
    return dict(_leaves(obs, prefix))


def _leaves(obs: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in obs.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def space_of(obs: Obs) -> gymnasium.spaces.Dict:
    """The single-env observation space of a batch of observations: unbounded where floating.

    For backends whose own description of the space is missing or wrong. Integer tensors get the
    full range of their dtype.

    Args:
        obs: tensors ``[N, ...]`` by group.
    """
    return gymnasium.spaces.Dict({name: _box_of(tensor) for name, tensor in obs.items()})


def _box_of(tensor: torch.Tensor) -> gymnasium.spaces.Box:
    dtype = np.dtype(str(tensor.dtype).removeprefix("torch."))
    low: float
    high: float
    if dtype.kind == "f":
        low, high = -np.inf, np.inf
    elif dtype.kind == "b":
        low, high = 0, 1
    else:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return gymnasium.spaces.Box(low, high, shape=tuple(tensor.shape[1:]), dtype=dtype.type)


def batched(space: gymnasium.spaces.Dict, num_envs: int) -> gymnasium.spaces.Dict:
    """``gymnasium.vector.utils.batch_space`` for a dictionary space, with its type kept."""
    batch = batch_space(space, num_envs)
    assert isinstance(batch, gymnasium.spaces.Dict)
    return batch


def add_final_obs(info: Info, final_obs: Obs, ended_mask: torch.Tensor) -> None:
    """Put the last observations of episodes into a step's info, where consumers look for them.

    Sets ``final_obs`` with its mask, and the same tensors by group under ``final_info``, where
    TorchRL's ``GymWrapper`` looks groups up (it would fill in zeros otherwise).

    Args:
        info: of the step; changed in place.
        final_obs: tensors ``[N, ...]`` by group.
        ended_mask: bool ``[N]``, the rows whose episode ended in this step.
    """
    info["final_obs"], info["_final_obs"] = final_obs, ended_mask
    info["final_info"] = info.get("final_info", {}) | final_obs
    info.setdefault("_final_info", ended_mask)


def add_final_state(
    info: Info, final_state: dict[str, torch.Tensor], ended_mask: torch.Tensor
) -> None:
    """Put the last states of scenes, tensors ``[N, ...]`` by path, into a step's info.

    Args:
        info: of the step; changed in place.
        final_state: as ``scene_state()`` tells it.
        ended_mask: bool ``[N]``, the rows whose episode ended in this step.
    """
    info["final_state"], info["_final_state"] = final_state, ended_mask


def merge_rows(mask: torch.Tensor, new: Obs, old: Obs) -> Obs:
    """Rows of ``new`` where ``mask`` is set, of ``old`` elsewhere, as tensors of their own.

    Args:
        mask: bool ``[N]``.
        new: tensors ``[N, ...]`` by group.
        old: the same groups.
    """
    return {
        name: torch.where(mask.reshape(-1, *[1] * (value.ndim - 1)), value, old[name])
        for name, value in new.items()
    }
