"""What must hold within one recorded episode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import Array
    from holdstep.wrappers.record.formats.hdf5 import EpisodeEntry

_ONCE = ("final_obs/", "initial_state/")
_FINITE = ("actions", "rewards")


@dataclass(frozen=True)
class ArrayType:
    """Of an array without its time: ``shape`` of one step, and ``dtype``."""

    shape: tuple[int, ...]
    dtype: str


def problems_of(
    episode: EpisodeEntry, arrays: Mapping[str, Array], *, damaged: bool = False
) -> Iterator[str]:
    """What is wrong within one episode.

    Args:
        episode: what is known about it.
        arrays: its arrays, in memory.
        damaged: some arrays are missing here because they could not be read.

    Yields:
        A sentence for each rule that is broken.
    """
    if episode.num_steps < 1:
        yield "it has no steps"
    if "actions" not in arrays and not damaged:
        yield "it has no actions"
    for path, array in arrays.items():
        allowed = _lengths(path, episode.num_steps)
        if len(array) not in allowed:
            wanted = " or ".join(str(length) for length in allowed)
            yield f"{path} has {len(array)} rows, expected {wanted}"
    yield from _mismatched_pairs(arrays)
    for path in _FINITE:
        values = arrays.get(path)
        if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
            step = int(np.argwhere(~np.isfinite(values))[0][0])
            yield f"{path} is not finite at step {step}"
    yield from _wrong_ends(episode, arrays)


def types_of(arrays: Mapping[str, Array]) -> dict[str, ArrayType]:
    """The types of an episode's arrays; ``final_obs``, which some episodes lack, left out."""
    return {
        path: ArrayType(array.shape[1:], array.dtype.name)
        for path, array in arrays.items()
        if not path.startswith("final_obs/")
    }


def differences(first: Mapping[str, ArrayType], other: Mapping[str, ArrayType]) -> Iterator[str]:
    """In what the arrays of an episode differ from those of the first one."""
    for path in sorted(set(first) - set(other)):
        yield f"it lacks {path}, which the first episode has"
    for path in sorted(set(other) - set(first)):
        yield f"it has {path}, which the first episode lacks"
    for path in sorted(set(first) & set(other)):
        if first[path] != other[path]:
            a, b = other[path], first[path]
            yield f"{path} is {a.dtype} {a.shape}, in the first episode {b.dtype} {b.shape}"


def _lengths(path: str, num_steps: int) -> tuple[int, ...]:
    if path.startswith(_ONCE):
        return (1,)
    if path.startswith("states/"):
        return (num_steps, num_steps - 1)  # what a reset overwrote can't be told everywhere
    return (num_steps,)


def _mismatched_pairs(arrays: Mapping[str, Array]) -> Iterator[str]:
    """Arrays that hold the same quantity at different times, and are of different types."""
    for at_one_time, over_time in (("final_obs/", "obs/"), ("initial_state/", "states/")):
        for path, array in arrays.items():
            other = arrays.get(over_time + path.removeprefix(at_one_time))
            if not path.startswith(at_one_time) or other is None:
                continue
            if (array.dtype, array.shape[1:]) != (other.dtype, other.shape[1:]):
                yield (
                    f"{path} is {array.dtype} {array.shape[1:]}, but {over_time}... is "
                    f"{other.dtype} {other.shape[1:]}"
                )


def _wrong_ends(episode: EpisodeEntry, arrays: Mapping[str, Array]) -> Iterator[str]:
    """Flags that say something else than how the episode ended."""
    for flag in ("terminated", "truncated"):
        values = arrays.get(flag)
        if values is None or len(values) != episode.num_steps or not episode.num_steps:
            continue
        early = np.flatnonzero(values[:-1])
        if early.size:
            yield f"{flag} is set at step {early[0]}, before its end"
        if episode.ended == flag and not values[-1]:
            yield f"it ended {flag}, but {flag} is not set at its last step"
        if episode.ended in ("reset", "closed") and values[-1]:
            yield f"it was cut ({episode.ended}), but {flag} is set at its last step"
