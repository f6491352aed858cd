"""Which features of a LeRobot dataset the arrays of an episode become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from holdstep.errors import DatasetError, nearest_names

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import Array
    from holdstep.wrappers.record.episode import Episode

Kind = Literal["array", "image", "video"]
Shapes = Mapping[str, tuple[tuple[int, ...], str]]

DONES = "dones"
SUCCEEDED = "succeeded"
"""Stand for arrays that are made of others: whether an episode ended, or succeeded, in a step."""

_DTYPES = {"float16": "float32"}
"""What Arrow's or LeRobot's readers lack, as the next one that holds each of its values."""


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        path: the array that it is made of.
        name: in the LeRobot dataset.
        dtype: of its values there, as NumPy names it.
        shape: of one step; ``(1,)`` for a number, as LeRobot has it.
        kind: how it is stored.
    """

    path: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: Kind

    def info(self, fps: int) -> dict[str, Any]:
        """Its entry in ``info.json``."""
        if self.kind == "array":
            return {"dtype": self.dtype, "shape": list(self.shape), "names": None}
        described: dict[str, Any] = {
            "dtype": self.kind,
            "shape": list(self.shape),
            "names": ["height", "width", "channels"],
        }
        if self.kind == "video":
            height, width, channels = self.shape
            described["info"] = {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": fps,
                "video.channels": channels,
                "has_audio": False,
            }
        return described

    def values(self, episode: Episode) -> Array:
        """``[T, *shape]``, or ``[T]`` for a number.

        Raises:
            DatasetError: the episode lacks the array, or has one of another shape or type.
        """
        values = _array(episode, self.path)
        shape = values.shape[1:] or (1,)
        if len(values) != episode.num_steps or shape != self.shape:
            raise DatasetError(
                f"{episode.name}: {self.path} is {values.dtype} {values.shape}, but the features "
                f"of the dataset, which are those of its first episode, have {self.dtype} "
                f"{(episode.num_steps, *self.shape)}."
            )
        if np.dtype(_DTYPES.get(values.dtype.name, values.dtype.name)) != np.dtype(self.dtype):
            raise DatasetError(
                f"{episode.name}: {self.path} is {values.dtype}, in the first episode {self.dtype}."
            )
        return values.astype(self.dtype, copy=False).reshape(len(values), *_bare(self.shape))


def make_features(
    shapes: Shapes, keys: Mapping[str, str] | None, *, video: bool, success: bool
) -> tuple[Feature, ...]:
    """The features of a dataset whose episodes are like one.

    Args:
        shapes: of its arrays: of one step, and dtypes.
        keys: names of features by paths of arrays; None for the usual ones.
        video: whether images become videos.
        success: whether it is known of every episode whether it succeeded.

    Raises:
        DatasetError: a path that the episode does not have, or names that LeRobot refuses.
    """
    known = {path: shape for path, shape in shapes.items() if _is_per_step(path)}
    if DONES not in known and {"terminated", "truncated"} <= set(known):
        known[DONES] = ((), "bool")
    if success:
        known[SUCCEEDED] = ((), "bool")
    names = usual_names(known) if keys is None else dict(keys)
    features = []
    for path, name in names.items():
        if path not in known:
            raise DatasetError(
                f"The episodes have no array {path!r}; they have {sorted(known)}."
                f"{nearest_names(path, known)}"
            )
        shape, dtype = known[path]
        kind: Kind = ("video" if video else "image") if is_image(shape, dtype) else "array"
        features.append(Feature(path, name, _DTYPES.get(dtype, dtype), shape or (1,), kind))
    _check_names([feature.name for feature in features])
    return tuple(features)


def usual_names(shapes: Shapes) -> dict[str, str]:
    """Names of features as LeRobot's policies look for them.

    Args:
        shapes: of an episode's arrays.

    Returns:
        Names by paths. The only observation that is no image is ``observation.state``.

    >>> usual_names({"actions": ((2,), "float32"), "obs/policy": ((4,), "float32"),
    ...              "obs/front": ((64, 64, 3), "uint8")})
    {'actions': 'action', 'obs/policy': 'observation.state',
     'obs/front': 'observation.images.front'}
    """
    observed = [path for path in shapes if path.startswith("obs/")]
    vectors = [path for path in observed if not is_image(*shapes[path])]
    names = {"actions": "action"} if "actions" in shapes else {}
    for path in observed:
        dotted = path.removeprefix("obs/").replace("/", ".")
        if path not in vectors:
            names[path] = f"observation.images.{dotted}"
        else:
            names[path] = "observation.state" if len(vectors) == 1 else f"observation.{dotted}"
    others = {"rewards": "next.reward", DONES: "next.done", SUCCEEDED: "next.success"}
    return names | {path: name for path, name in others.items() if path in shapes}


def is_image(shape: tuple[int, ...], dtype: str) -> bool:
    """Whether an array of one step is a colour image. Others, depth say, are kept as numbers."""
    return dtype == "uint8" and len(shape) == 3 and shape[2] == 3


def _is_per_step(path: str) -> bool:
    return not path.startswith(("initial_state/", "final_obs/", "states/"))


def _array(episode: Episode, path: str) -> Array:
    if path in episode.arrays:
        return episode.arrays[path]
    if path == DONES and {"terminated", "truncated"} <= set(episode.arrays):
        return episode.arrays["terminated"] | episode.arrays["truncated"]
    if path == SUCCEEDED and episode.success is not None:
        values = np.zeros(episode.num_steps, bool)
        values[-1:] = episode.success
        return values
    raise DatasetError(
        f"{episode.name} has no array {path!r}, which other episodes of the dataset have."
    )


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    return () if shape == (1,) else shape


def _check_names(names: list[str]) -> None:
    reserved = {"timestamp", "frame_index", "episode_index", "index", "task_index", "task"}
    for name in names:
        if "/" in name or not name or name in reserved or names.count(name) > 1:
            raise DatasetError(
                f"{name!r} can't be the name of a LeRobot feature: names differ, have no '/', and "
                f"are none of {sorted(reserved)}."
            )
