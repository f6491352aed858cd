"""Gymnasium's spaces and NumPy data as what the contract wants: groups of tensors, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from holdstep.errors import CapabilityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdstep.envs.contract import Obs

_SINGLE_GROUP = "policy"
_ARRAY_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
# What torch computes with in place of what it lacks, or is slow at; each holds all of the values.
_REPLACED_DTYPES = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64}


class ObsGroups:
    """Observations of a vector env as tensors by group.

    An array is the group ``"policy"``; dictionaries are flattened to ``"a/b"``, tuples likewise
    with the index as the name. Float64 becomes float32.

    Args:
        space: the observation space of one env.
        device: where the tensors go.

    Raises:
        CapabilityError: the space holds something that is no fixed-size array.

    >>> groups = ObsGroups(spaces.Dict({"a": spaces.Discrete(3)}), torch.device("cpu"))
    >>> groups.tensors({"a": np.array([0, 2])})
    {'a': tensor([0, 2])}
    """

    def __init__(self, space: gymnasium.Space[Any], device: torch.device) -> None:
        self._device = device
        leaves = list(_leaves(space, ()))
        names = ["/".join(map(str, path)) or _SINGLE_GROUP for path, _ in leaves]
        if len(set(names)) < len(names):
            raise CapabilityError(
                f"Flattening the observation space gives two groups of one name: {sorted(names)}. "
                "Rename the keys that contain '/'."
            )
        self._paths = dict(zip(names, (path for path, _ in leaves), strict=True))
        self._dtypes = {
            name: _torch_friendly(leaf, name) for name, (_, leaf) in zip(names, leaves, strict=True)
        }

    def space(self, space: gymnasium.Space[Any]) -> spaces.Dict:
        """The flat dictionary of a space (single or batched) that is built like the env's."""
        # By path: Gymnasium sorts the keys of a batched Dict, but not those of Dict(b=..., a=...).
        leaves = dict(_leaves(space, ()))
        if leaves.keys() != set(self._paths.values()):
            raise CapabilityError(
                f"The observation space {space} has other parts than those of one env, "
                f"{sorted(self._paths)}. Batch it with gymnasium.vector.utils.batch_space."
            )
        return spaces.Dict(
            {
                name: _cast_box(leaves[path], self._dtypes[name])
                for name, path in self._paths.items()
            }
        )

    def tensors(self, obs: Any) -> Obs:
        """A batch of observations as new tensors ``[N, ...]`` by group."""
        return {name: self._tensor(self._array(obs, name)) for name in self._paths}

    def final_tensors(self, obs: Any, final_obs: Any, ended: np.ndarray) -> Obs:
        """Final observations as new tensors; rows that did not end hold current values.

        Args:
            obs: the batch of current observations.
            final_obs: Gymnasium's object array of single observations, or a batch.
            ended: bool ``[N]``, rows whose final observation is to be taken.
        """
        by_row = isinstance(final_obs, np.ndarray) and final_obs.dtype == object
        result = {}
        for name, path in self._paths.items():
            array = self._array(obs, name)
            if by_row:
                for row in np.flatnonzero(ended):
                    array[row] = _at(final_obs[row], path)
            else:
                array[ended] = np.asarray(_at(final_obs, path))[ended]
            result[name] = self._tensor(array)
        return result

    def _array(self, obs: Any, name: str) -> np.ndarray:
        # Always a copy: envs write their next observation into the memory of this one.
        return np.array(_at(obs, self._paths[name]), dtype=self._dtypes[name])

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


class ActionArrays:
    """Action tensors as the NumPy arrays that a vector env takes.

    Box actions are float32 tensors whatever float the env wants; the other spaces take integers.

    Args:
        single_space: the env's single action space.
        space: the env's batched action space.

    Raises:
        CapabilityError: the space is no single array.
    """

    def __init__(self, single_space: gymnasium.Space[Any], space: gymnasium.Space[Any]) -> None:
        for each in (single_space, space):
            if not isinstance(each, _ARRAY_SPACES):
                raise CapabilityError(
                    f"The action space {each} is no single array. Box, Discrete, MultiDiscrete and "
                    "MultiBinary can be adapted; flatten it with "
                    "gymnasium.wrappers.TransformAction."
                )
        self.single_space = _cast_box(single_space, _action_dtype(single_space))
        self.space = _cast_box(space, _action_dtype(space))
        self._dtype = space.dtype

    def array(self, actions: torch.Tensor) -> np.ndarray:
        """A batch of actions as a new array of the env's own dtype."""
        # A copy even where nothing changes: an env may edit what it is given.
        return actions.detach().cpu().numpy().astype(self._dtype)


def _leaves(
    space: gymnasium.Space[Any], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], gymnasium.Space[Any]]]:
    if isinstance(space, spaces.Dict):
        for key, child in space.spaces.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for index, child in enumerate(space.spaces):
            yield from _leaves(child, (*path, index))
    elif isinstance(space, _ARRAY_SPACES):
        yield path, space
    else:
        where = f" (at {'/'.join(map(str, path))!r})" if path else ""
        raise CapabilityError(
            f"The observation space {space}{where} has no array of one fixed shape, so it can't be "
            "a tensor. Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of them can; "
            "turn it into one of those with gymnasium.wrappers.TransformObservation."
        )


def _at(obs: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        obs = obs[step]
    return obs


def _torch_friendly(space: gymnasium.Space[Any], name: str) -> np.dtype[Any]:
    assert space.dtype is not None  # all array spaces have one
    dtype = np.dtype(space.dtype)
    if dtype.kind == "f" and dtype.itemsize >= 8:
        return np.dtype(np.float32)
    if isinstance(space, spaces.Box):
        dtype = np.dtype(_REPLACED_DTYPES.get(dtype, dtype))
    try:
        torch.from_numpy(np.empty(0, dtype=dtype))
    except TypeError:
        unusable = True
    else:
        unusable = dtype in (np.uint16, np.uint32, np.uint64)
    if unusable:
        raise CapabilityError(
            f"{name!r} has dtype {dtype}, which torch can't compute with. "
            "Convert it with a wrapper around the env."
        )
    return dtype


def _action_dtype(space: gymnasium.Space[Any]) -> np.dtype[Any]:
    dtype = _torch_friendly(space, "actions")
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


def _cast_box(space: gymnasium.Space[Any], dtype: np.dtype[Any]) -> gymnasium.Space[Any]:
    """A Box in another dtype. Casting is monotonic, so values in bounds stay in bounds."""
    if not isinstance(space, spaces.Box) or space.dtype == dtype:
        return space
    with np.errstate(over="ignore"):  # bounds beyond float32 become infinite
        low, high = space.low.astype(dtype), space.high.astype(dtype)
    return spaces.Box(low, high, shape=space.shape, dtype=dtype.type)
