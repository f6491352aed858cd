"""What an HDF5 file says about an episode without its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import h5py
from h5py import h5d, h5o

from holdstep.wrappers.record.episode import Ended
from holdstep.wrappers.record.formats.hdf5_attributes import read_attributes
from holdstep.wrappers.record.formats.hdf5_safety import is_hard_link
from holdstep.wrappers.record.formats.hdf5_values import read_values


@dataclass(frozen=True)
class EpisodeEntry:
    """What a file says about an episode without its arrays.

    Attributes:
        name: such as ``"demo_12"``.
        num_steps: its length.
        ended: how; as the flags of its last step say, or ``"truncated"``, where the file does not.
        success: whether it succeeded, or None where the file does not say.
        attributes: everything else.
    """

    name: str
    num_steps: int
    ended: Ended = "truncated"
    success: bool | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


def entry_of(demo: h5py.Group, name: str) -> EpisodeEntry:
    """What an episode's group says.

    Raises:
        ValueError: something that can't be.
    """
    attributes = read_attributes(demo.attrs)
    num_steps = attributes.pop("num_samples", None)
    if num_steps is None:
        num_steps = _length_of_actions(demo)
    if not isinstance(num_steps, int) or num_steps < 0:
        raise ValueError(f"num_samples is {num_steps!r}, which is no length")
    ended = attributes.pop("ended", None) or _how_it_ended(demo)
    if ended not in get_args(Ended):
        raise ValueError(f"it ended {ended!r}, which is none of {get_args(Ended)}")
    success = attributes.pop("success", None)
    return EpisodeEntry(
        name, num_steps, ended, None if success is None else bool(success), attributes
    )


def _how_it_ended(demo: h5py.Group) -> Ended:
    """As the flags of the last step say, in a file that does not say it otherwise."""
    has_flags = False
    flags: tuple[Ended, ...] = ("terminated", "truncated")
    for flag in flags:
        if is_hard_link(demo.id, flag.encode()):
            has_flags = True
            if read_values(demo, flag, f"{demo.name}/{flag}")[-1:].any():
                return flag
    return "reset" if has_flags else "truncated"


def _length_of_actions(demo: h5py.Group) -> int:
    if is_hard_link(demo.id, b"actions"):
        actions = h5o.open(demo.id, b"actions")
        if isinstance(actions, h5d.DatasetID) and actions.rank > 0:
            return int(actions.shape[0])
    raise ValueError("it has neither num_samples nor actions, so that its length is not known")
