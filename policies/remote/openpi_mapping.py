"""How an env's observations become openpi's, row by row, and openpi's actions the env's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from holdstep.errors import ConfigError, MalformedMessageError
from holdstep.policies.remote.columns import (
    Source,
    assembled,
    from_wire,
    group_in,
    group_of,
    state_values,
)
from holdstep.policies.remote.images import ImageFormat, ImageLayout
from holdstep.policies.remote.limits import check_count

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs
    from holdstep.policies.chunked.protocol import ChunkRequest

WireKey: TypeAlias = str | tuple[str, ...]
"""A key of an observation; a tuple of keys leads into maps inside it."""


@dataclass(frozen=True, kw_only=True)
class OpenPiMapping:
    """Which observation group is sent under which of an openpi policy's keys.

    The keys are those that the policy's input transform reads, such as
    ``"observation/exterior_image_1_left"`` and ``"observation/joint_position"`` for DROID. A tuple
    leads into nested maps: ALOHA's ``{"images": {"cam_high": ...}}`` is ``("images", "cam_high")``.

    Attributes:
        action_dim: width of the env's action, which is that of the policy's output.
        images: observation groups of images ``[B, H, W, 3]`` by key.
        state: observation groups ``[B, D]``, or :class:`Columns` of one, by key; sent as float32
            ``(D,)``.
        prompt_key: under which a row's instruction goes; None for none.
        actions_key: under which the policy answers with its chunk.
        image_layout: of the env's images, ``"hwc"`` or ``"chw"``.
        image_size: (height, width) [pixels] to which images are resized on their device before they
            are moved, with black bars that keep their aspect; None leaves them as they are.
        channels_first: send images as ``(3, H, W)``, as ALOHA's policies expect.
    """

    action_dim: int
    images: Mapping[WireKey, str] = field(default_factory=dict)
    state: Mapping[WireKey, Source] = field(default_factory=dict)
    prompt_key: str | None = "prompt"
    actions_key: str = "actions"
    image_layout: ImageLayout = "hwc"
    image_size: tuple[int, int] | None = None
    channels_first: bool = False

    def __post_init__(self) -> None:
        check_count("action_dim", self.action_dim)
        if not self.images and not self.state:
            raise ConfigError("An OpenPiMapping needs images or a state.")
        _ = self._format

    @property
    def _format(self) -> ImageFormat:
        return ImageFormat(layout=self.image_layout, size=self.image_size, keep_aspect=True)

    @property
    def obs_keys(self) -> tuple[str, ...]:
        """The observation groups that are read, each once."""
        return tuple(dict.fromkeys((*self.images.values(), *map(group_of, self.state.values()))))

    def observations(self, request: ChunkRequest) -> list[dict[str, Any]]:
        """What openpi's ``infer`` takes, for each row.

        Raises:
            ConfigError: the request lacks a group or instructions, or a group has another shape.
        """
        columns: dict[WireKey, np.ndarray] = {}
        for key, group in self.images.items():
            images = self._format.apply(group_in(request.obs, group, wire_key=key), name=group)
            if images.ndim != 4:
                raise ConfigError(
                    f"openpi takes one image at a time: {key!r} must come from a group "
                    f"[B, H, W, 3], but {group!r} gives {list(images.shape)}."
                )
            # One copy from the device for all rows.
            columns[key] = (images.movedim(-1, 1) if self.channels_first else images).cpu().numpy()
        for key, source in self.state.items():
            columns[key] = state_values(request.obs, source, wire_key=key).cpu().numpy()
        if self.prompt_key is not None and len(request.instructions) != len(request):
            raise ConfigError(
                f"The mapping sends instructions as {self.prompt_key!r}, but the request has "
                f"{len(request.instructions)} for {len(request)} rows. Give the runner "
                "instructions, or set prompt_key=None."
            )
        rows = []
        for row in range(len(request)):
            observation: dict[str, Any] = {}
            for key, values in columns.items():
                _put(observation, key, values[row])
            if self.prompt_key is not None:
                observation[self.prompt_key] = request.instructions[row]
            rows.append(observation)
        return rows

    def actions(self, answer: object, *, chunk_length: int) -> np.ndarray:
        """A row's actions ``[1, L, A]`` out of what openpi answered.

        Raises:
            MalformedMessageError: none, or of another shape or dtype.
        """
        actions = answer.get(self.actions_key) if isinstance(answer, Mapping) else None
        if not isinstance(actions, np.ndarray) or actions.dtype.kind != "f":
            raise MalformedMessageError(f"no array of floats as {self.actions_key!r}")
        if actions.shape != (chunk_length, self.action_dim):
            raise MalformedMessageError(
                f"{self.actions_key!r} of shape {actions.shape}, where "
                f"{(chunk_length, self.action_dim)} (chunk_length, action_dim) is expected"
            )
        return actions.astype(np.float32, copy=False)[None]

    def obs(self, observation: Mapping[str, Any], device: torch.device) -> Obs:
        """The env's groups, of one row, out of what a client sent.

        Raises:
            ConfigError: columns leave a gap.
            MalformedMessageError: a key is missing.
        """
        parts: list[tuple[Source, torch.Tensor]] = []
        for key, group in self.images.items():
            images = from_wire(_get(observation, key), device)[None]
            parts.append((group, images.movedim(1, -1) if self.channels_first else images))
        for key, source in self.state.items():
            parts.append((source, from_wire(_get(observation, key), device)[None]))
        return assembled(parts)


def prompt_of(observation: Mapping[str, Any], key: str | None) -> Sequence[str]:
    """The instruction of an observation, or none.

    Raises:
        MalformedMessageError: it is no string.
    """
    prompt = None if key is None else observation.get(key)
    if prompt is not None and not isinstance(prompt, str):
        raise MalformedMessageError(f"a {key!r} that is no string")
    return () if prompt is None else (prompt,)


def obs_by_path(observation: Mapping[Any, Any], device: torch.device, prefix: str = "") -> Obs:
    """All arrays of an observation, each as a group of one row that is named by its path."""
    obs: Obs = {}
    for key, value in observation.items():
        if isinstance(value, np.ndarray):
            obs[f"{prefix}{key}"] = from_wire(value, device)[None]
        elif isinstance(value, dict):
            obs |= obs_by_path(value, device, f"{prefix}{key}/")
    return obs


def _path(key: WireKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key


def _put(observation: dict[str, Any], key: WireKey, value: np.ndarray) -> None:
    *path, name = _path(key)
    for step in path:
        observation = observation.setdefault(step, {})
    observation[name] = value


def _get(observation: Mapping[str, Any], key: WireKey) -> np.ndarray:
    value: Any = observation
    for step in _path(key):
        value = value.get(step) if isinstance(value, dict) else None
    if not isinstance(value, np.ndarray):
        raise MalformedMessageError(f"an observation without {key!r}")
    return value
