"""Where the value of each recorded column comes from, in a step and after a reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from holdstep.errors import RecordingError

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs, TorchVectorEnv
    from holdstep.wrappers.record.columns import Column


class Frame:
    """All that is known of the rows at one time.

    Args:
        env: the adapter.
        obs: observations by group.
        actions: what was given to the step, or None after a reset.
        reward: of the step.
        terminated: of the step.
        truncated: of the step.
        info: of the step or the reset.
        states: of the scene; asked of the adapter when they are needed, if they are not given.
    """

    __slots__ = ("_states", "actions", "env", "info", "obs", "reward", "terminated", "truncated")

    def __init__(
        self,
        env: TorchVectorEnv,
        obs: Obs,
        *,
        actions: Any = None,
        reward: torch.Tensor | None = None,
        terminated: torch.Tensor | None = None,
        truncated: torch.Tensor | None = None,
        info: Info | None = None,
        states: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.env = env
        self.obs = obs
        self.actions = actions
        self.reward = reward
        self.terminated = terminated
        self.truncated = truncated
        self.info: Info = {} if info is None else info
        self._states = states

    @property
    def states(self) -> Mapping[str, torch.Tensor]:
        """States of the scene, by path."""
        if self._states is None:
            self._states = self.env.scene_state()
        return self._states


Source = Callable[[Frame], Any]


def source_of(column: Column, env: TorchVectorEnv) -> Source:
    """What reads a column's tensor ``[N, *column.shape]`` from a frame.

    Args:
        column: as :mod:`holdstep.wrappers.record.keys` made it.
        env: the adapter.
    """
    folder, _, name = column.name.partition("/")
    if folder == "obs":
        return lambda frame: frame.obs[name]
    if folder == "states":
        return lambda frame: frame.states[name]
    if folder == "info":
        return _info_source(column, name, env)
    return _STEP_SOURCES[column.name]


def _actions(frame: Frame) -> Any:
    actions = frame.actions
    return torch.from_numpy(actions) if isinstance(actions, np.ndarray) else actions


_STEP_SOURCES: dict[str, Source] = {
    "actions": _actions,
    "processed_actions": lambda frame: frame.env.processed_actions(),
    "rewards": lambda frame: frame.reward,
    "terminated": lambda frame: frame.terminated,
    "truncated": lambda frame: frame.truncated,
}


def _info_source(column: Column, name: str, env: TorchVectorEnv) -> Source:
    """An entry, zero in steps without it; or the mask of the rows in which it is set."""
    shape, dtype = (env.num_envs, *column.shape), getattr(torch, column.dtype)
    with torch.inference_mode(False):
        missing = torch.zeros(shape, dtype=dtype, device=env.device)
        whole = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    entry = name.removeprefix("_")

    def on_device(found: Any) -> Any:
        if isinstance(found, torch.Tensor) and found.device == env.device:
            return found  # as_tensor would take 4 us to say the same
        return torch.as_tensor(found, device=env.device)

    def value(frame: Frame) -> Any:
        found = frame.info.get(name)
        return missing if found is None else on_device(found)

    def mask(frame: Frame) -> Any:
        if entry not in frame.info:
            return missing
        found = frame.info.get(name)
        return whole if found is None else on_device(found)

    return mask if name.startswith("_") else value


def checked(column: Column, source: Source, env: TorchVectorEnv) -> Source:
    """The same, refused where it is not what was recorded so far.

    Without this, a tensor of another type would be converted without a word, and one of another
    shape would be packed over its neighbours.
    """
    shape = torch.Size((env.num_envs, *column.shape))
    dtype = getattr(torch, column.dtype)

    def read(frame: Frame) -> torch.Tensor:
        value: torch.Tensor = source(frame)
        if value.shape != shape or value.dtype is not dtype:
            raise RecordingError(
                f"{column.name!r} was {dtype} {tuple(shape)} when the recording began, and is "
                f"{value.dtype} {tuple(value.shape)} now. Leave it out of keys, or make the env "
                "return it as it did."
            )
        return value

    return read
