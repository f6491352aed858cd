"""Where a value on the wire comes from: an observation group, or columns of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from holdstep.errors import ConfigError, nearest_names

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs


@dataclass(frozen=True)
class Columns:
    """Columns ``start`` to ``stop`` of an observation group ``[B, D]``.

    >>> Columns("policy", 0, 7).width
    7
    """

    group: str
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ConfigError(
                f"Columns must have 0 <= start < stop, got {self.start} and {self.stop}."
            )

    @property
    def width(self) -> int:
        """How many columns they are."""
        return self.stop - self.start


Source: TypeAlias = str | Columns
"""A whole observation group by name, or some of its columns."""


def group_of(source: Source) -> str:
    """The observation group that a source reads."""
    return source if isinstance(source, str) else source.group


def group_in(obs: Obs, source: Source, *, wire_key: object) -> torch.Tensor:
    """The group of a source.

    Raises:
        ConfigError: there is no such group.
    """
    group = group_of(source)
    if group not in obs:
        raise ConfigError(
            f"{wire_key!r} is to come from the observation group {group!r}, which there is not. "
            f"There are: {', '.join(sorted(obs))}.{nearest_names(group, obs)}"
        )
    return obs[group]


def state_values(obs: Obs, source: Source, *, wire_key: object) -> torch.Tensor:
    """The state ``[B, D]``, float32, that a source names.

    Raises:
        ConfigError: no such group, not of this shape, or narrower than the columns.
    """
    values = group_in(obs, source, wire_key=wire_key)
    if values.ndim != 2:
        raise ConfigError(
            f"{wire_key!r} is a state, for which the group {group_of(source)!r} must have shape "
            f"[B, D]; it has {list(values.shape)}."
        )
    if isinstance(source, Columns):
        if source.stop > values.shape[1]:
            raise ConfigError(
                f"{wire_key!r} takes columns {source.start} to {source.stop} of the group "
                f"{source.group!r}, which has {values.shape[1]}."
            )
        values = values[:, source.start : source.stop]
    return values.to(torch.float32)


def from_wire(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array of a client's as a tensor, floats as float32.

    NumPy's floats are float64 unless somebody says otherwise, and clients rarely do; no policy's
    weights are.
    """
    tensor = torch.from_numpy(values)
    if tensor.is_floating_point():
        tensor = tensor.to(torch.float32)
    return tensor.to(device)


def assembled(parts: Iterable[tuple[Source, torch.Tensor]]) -> Obs:
    """Observation groups out of values from the wire: the reverse of the above.

    Raises:
        ConfigError: the columns of a group leave a gap, or overlap.
    """
    whole: Obs = {}
    columns: dict[str, list[tuple[Columns, torch.Tensor]]] = {}
    for source, values in parts:
        if isinstance(source, str):
            whole[source] = values
        else:
            columns.setdefault(source.group, []).append((source, values))
    for group, pieces in columns.items():
        pieces.sort(key=lambda piece: piece[0].start)
        end = 0
        for source, values in pieces:
            if source.start != end or values.ndim != 2 or values.shape[1] != source.width:
                raise ConfigError(
                    f"Columns {source.start} to {source.stop} of {group!r} can't be put back from "
                    f"values of shape {list(values.shape)} behind {end} other columns."
                )
            end = source.stop
        whole[group] = torch.cat([values for _, values in pieces], dim=1)
    return whole
