"""Which observation groups a view shows, for RL libraries that know one observation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch

from holdstep.errors import ConfigError, nearest_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdstep.envs.contract import Obs

_USUAL_GROUPS = ("policy", "actor")
"""What Isaac Lab, and what mjlab, calls the group that the policy sees."""


def select_groups(
    space: gymnasium.spaces.Dict, groups: str | Sequence[str] | None = None
) -> tuple[str, ...]:
    """The names of the observation groups to show.

    Args:
        space: observation space by group, of one env or of a batch.
        groups: a name, several names, or None for ``"policy"``, else ``"actor"``, else the only
            group there is.

    Returns:
        At least one name, each of a group that exists, in the order given.

    Raises:
        ConfigError: a group does not exist or is named twice, no group is named, or there is no
            group to take when ``groups`` is None.

    >>> box = gymnasium.spaces.Box(-1.0, 1.0, (2,))
    >>> select_groups(gymnasium.spaces.Dict(actor=box, critic=box))
    ('actor',)
    """
    names = list(space.spaces)
    if groups is None:
        return (_default_group(names),)
    selected = (groups,) if isinstance(groups, str) else tuple(groups)
    for name in selected:
        if name not in names:
            raise ConfigError(
                f"The env has no observation group {name!r}."
                + nearest_names(str(name), names)
                + f" It has: {', '.join(names)}."
            )
    if not selected or len(set(selected)) < len(selected):
        raise ConfigError(
            f"Name one or more observation groups, each once, got {groups!r}. "
            f"The env has: {', '.join(names)}."
        )
    return selected


def joined_space(space: gymnasium.spaces.Dict, groups: tuple[str, ...]) -> gymnasium.spaces.Box:
    """The space of one env's observation when ``groups`` become one array.

    Args:
        space: observation space of one env, by group.
        groups: as from :func:`select_groups`.

    Returns:
        A single group's own space, of any shape; the space of the vectors end to end otherwise. A
        number without dimensions counts as a vector of one.

    Raises:
        ConfigError: a group is no ``Box``, or one of several groups is no vector.
    """
    boxes = []
    for name in groups:
        box = space[name]
        if isinstance(box, gymnasium.spaces.Box) and box.shape == ():
            box = gymnasium.spaces.Box(box.low[None], box.high[None], dtype=box.low.dtype.type)
        if not isinstance(box, gymnasium.spaces.Box) or (len(groups) > 1 and len(box.shape) != 1):
            wanted = "a Box of one dimension to be joined to others" if len(groups) > 1 else "a Box"
            raise ConfigError(f"Observation group {name!r} must be {wanted}, got {box}.")
        boxes.append(box)
    if len(boxes) == 1:
        return boxes[0]
    return gymnasium.spaces.Box(
        np.concatenate([box.low for box in boxes]),
        np.concatenate([box.high for box in boxes]),
        dtype=np.result_type(*(box.dtype for box in boxes)).type,
    )


def joined(obs: Obs, groups: tuple[str, ...]) -> torch.Tensor:
    """The groups' observations as one tensor ``[N, features]``, in the order of ``groups``.

    Args:
        obs: tensors ``[N, ...]`` by group.
        groups: as from :func:`select_groups`.
    """
    if len(groups) == 1:
        return _flat(obs[groups[0]])
    return torch.cat([_flat(obs[name]) for name in groups], dim=1)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flatten(1) if tensor.ndim > 1 else tensor.unsqueeze(1)


def _default_group(names: list[str]) -> str:
    for name in _USUAL_GROUPS:
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    raise ConfigError(
        "The env has several observation groups and none is named 'policy' or 'actor': say which "
        f"to show. It has: {', '.join(names)}."
    )
