"""Where the objects of a scene are: read, checked and written by path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from holdstep.errors import ConfigError, nearest_names


@dataclass(frozen=True)
class ScenePart:
    """One quantity of one object in the scene.

    Attributes:
        read: the quantity of all rows as it is now, ``[N, ...]``, in memory of its own. It must
            neither wait for a GPU nor change what the simulator computes later.
        write: sets it for rows; gets values ``[k, ...]`` and int64 ids ``[k]``.
        is_pose: its first three numbers are a position in the world [m].
    """

    read: Callable[[], torch.Tensor]
    write: Callable[[torch.Tensor, torch.Tensor], None]
    is_pose: bool = False


class SceneState:
    """The quantities that ``scene_state()`` of a simulator's adapter tells.

    Args:
        parts: by path. They are written in this order: a velocity that the simulator turns into
            the object's own axes needs the new pose.
        origins: where the rows' envs lie in the world, ``[N, 3]`` [m].
    """

    def __init__(
        self, parts: Mapping[str, ScenePart], *, origins: Callable[[], torch.Tensor]
    ) -> None:
        self._parts = dict(parts)
        self._origins = origins

    def read(self) -> dict[str, torch.Tensor]:
        """By path, float32 ``[N, ...]`` in memory of their own; poses relative to the origins."""
        state = {path: part.read().float() for path, part in self._parts.items()}
        origins = self._origins()
        for path, part in self._parts.items():
            if part.is_pose:
                state[path][:, :3] -= origins
        return state

    def write(self, state: Mapping[str, torch.Tensor], env_ids: torch.Tensor) -> None:
        """Set rows.

        Args:
            state: by path, ``[k, ...]``, as :func:`checked_state` returns it; changed in place.
            env_ids: int64 ``[k]``.
        """
        for path, part in self._parts.items():
            if path not in state:
                continue
            values = state[path]
            if part.is_pose:
                values[:, :3] += self._origins()[env_ids]
            part.write(values, env_ids)


def checked_state(
    state: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor], num_rows: int
) -> dict[str, torch.Tensor]:
    """A state to be written, in memory of its own and where the env has its tensors.

    Args:
        state: by path, what a user gave for ``num_rows`` rows.
        like: by path, what the env has, ``[N, ...]``.
        num_rows: k.

    Returns:
        By path, tensors ``[k, ...]`` with the env's dtypes, on its device.

    Raises:
        ConfigError: a path that the env does not have, or a tensor of another shape.
    """
    checked = {}
    for path, values in state.items():
        if path not in like:
            raise ConfigError(
                f"The scene has no {path!r}." + (nearest_names(path, like) or _known(like))
            )
        given = torch.as_tensor(values)
        wanted = (num_rows, *like[path].shape[1:])
        if tuple(given.shape) != wanted:
            raise ConfigError(
                f"The state {path!r} must have shape {wanted}, one row for each of env_ids, got "
                f"{tuple(given.shape)}."
            )
        checked[path] = given.detach().to(like[path], copy=True)
    return checked


def _known(like: Mapping[str, torch.Tensor]) -> str:
    return f" It has: {', '.join(sorted(like)) or 'nothing'}."
