"""How an env's observations become GR00T's, and GR00T's actions the env's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True, kw_only=True)
class GrootMapping:
    """Which observation group is sent under which of a GR00T model's keys.

    The keys are those of the model's modality configuration, which
    :meth:`GrootPolicy.modality_config` asks the server for.

    Attributes:
        video: observation groups of images by video key. A group is ``[B, H, W, 3]`` (one frame) or
            ``[B, T, H, W, 3]``; sent as ``(B, T, H, W, 3)`` uint8.
        state: observation groups ``[B, D]``, or :class:`Columns` of one, by state key; sent as
            ``(B, 1, D)`` float32.
        action: width of each action key's vector, in the order in which they make up the env's
            action.
        language_key: under which the instructions go, as ``[[str]] * B``; None for none.
        image_layout: of the env's images, ``"hwc"`` or ``"chw"``.
        image_size: (height, width) [pixels] to which images are resized on their device before they
            are moved; None leaves them as they are.

    >>> from holdstep.policies.remote import Columns
    >>> mapping = GrootMapping(
    ...     video={"front": "camera/front"},
    ...     state={"arm": Columns("policy", 0, 7), "gripper": Columns("policy", 7, 8)},
    ...     action={"arm": 7, "gripper": 1},
    ... )
    >>> mapping.action_dim, mapping.obs_keys
    (8, ('camera/front', 'policy'))
    """

    action: Mapping[str, int]
    video: Mapping[str, str] = field(default_factory=dict)
    state: Mapping[str, Source] = field(default_factory=dict)
    language_key: str | None = None
    image_layout: ImageLayout = "hwc"
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.action:
            raise ConfigError("A GrootMapping needs an action, such as action={'arm': 7}.")
        if not self.video and not self.state:
            raise ConfigError("A GrootMapping needs a video or a state.")
        for key, width in self.action.items():
            check_count(f"action[{key!r}]", width)
        ImageFormat(layout=self.image_layout, size=self.image_size)

    @property
    def action_dim(self) -> int:
        """Width of the env's action."""
        return sum(self.action.values())

    @property
    def obs_keys(self) -> tuple[str, ...]:
        """The observation groups that are read, each once."""
        groups = (*self.video.values(), *map(group_of, self.state.values()))
        return tuple(dict.fromkeys(groups))

    def observation(self, request: ChunkRequest) -> dict[str, Any]:
        """What GR00T's ``get_action`` takes as ``observation``.

        Raises:
            ConfigError: the request lacks a group or instructions, or a group has another shape.
        """
        images = ImageFormat(layout=self.image_layout, size=self.image_size)
        video = {}
        for key, group in self.video.items():
            frames = images.apply(group_in(request.obs, group, wire_key=key), name=group)
            if frames.ndim not in (4, 5):
                raise ConfigError(
                    f"The video {key!r} must be images [B, H, W, 3] or [B, T, H, W, 3]; the group "
                    f"{group!r} gives {list(frames.shape)}."
                )
            video[key] = frames.unsqueeze(1) if frames.ndim == 4 else frames
        state = {
            key: state_values(request.obs, source, wire_key=key).unsqueeze(1)
            for key, source in self.state.items()
        }
        language = {}
        if self.language_key is not None:
            if len(request.instructions) != len(request):
                raise ConfigError(
                    f"The mapping sends instructions as {self.language_key!r}, but the request has "
                    f"{len(request.instructions)} for {len(request)} rows. Give the runner "
                    "instructions, or set language_key=None."
                )
            language[self.language_key] = [[text] for text in request.instructions]
        return {"video": video, "state": state, "language": language}

    def actions(self, answer: object, *, num_rows: int, chunk_length: int) -> np.ndarray:
        """The env's actions ``[B, L, A]`` out of what GR00T answered.

        Raises:
            MalformedMessageError: a key is missing, or has another shape or dtype.
        """
        if not isinstance(answer, Mapping):
            raise MalformedMessageError("an action that is no map of arrays")
        parts = []
        for key, width in self.action.items():
            part = answer.get(key)
            if not isinstance(part, np.ndarray) or part.dtype.kind != "f":
                raise MalformedMessageError(
                    f"no array of floats as action {key!r}; there are {sorted(map(str, answer))}"
                )
            if part.shape != (num_rows, chunk_length, width):
                raise MalformedMessageError(
                    f"an action {key!r} of shape {part.shape}, where "
                    f"{(num_rows, chunk_length, width)} (rows, chunk_length, width) is expected"
                )
            parts.append(part.astype(np.float32, copy=False))
        return np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]

    def obs(self, observation: Mapping[str, Any], device: torch.device) -> Obs:
        """The env's groups out of what a client sent: the reverse of :meth:`observation`.

        Raises:
            ConfigError: columns leave a gap.
            MalformedMessageError: a key is missing.
        """
        parts = []
        for modality, sources in (("video", self.video), ("state", self.state)):
            for key, source in sources.items():
                values = observation.get(modality, {}).get(key)
                if not isinstance(values, np.ndarray):
                    raise MalformedMessageError(f"an observation without {modality} {key!r}")
                parts.append((source, without_time(values, device)))
        return assembled(parts)

    def split(self, actions: np.ndarray) -> dict[str, np.ndarray]:
        """Actions ``[B, L, A]`` by action key: the reverse of :meth:`actions`."""
        edges = np.cumsum(list(self.action.values()))[:-1]
        return dict(zip(self.action, np.split(actions, edges, axis=2), strict=True))


def without_time(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """A tensor without its second dimension, the history, where that is of one frame."""
    if values.ndim < 2:
        raise MalformedMessageError(f"a value of shape {values.shape}; expected (B, T, ...)")
    return from_wire(values[:, 0] if values.shape[1] == 1 else values, device)


def language_of(observation: Mapping[str, Any]) -> Sequence[str]:
    """The instructions in what a client sent: one for each row, or none.

    Raises:
        MalformedMessageError: language that is no ``[[str]] * B``.
    """
    language = observation.get("language") or {}
    if not isinstance(language, Mapping):
        raise MalformedMessageError("a language that is no map")
    for texts in language.values():
        if not isinstance(texts, list):
            raise MalformedMessageError("language that is no list")
        rows = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in texts]
        if not all(isinstance(row, str) for row in rows):
            raise MalformedMessageError("language that is no list of lists of one string")
        return rows
    return ()
