"""Checks of what a writer is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from holdstep.errors import ConfigError


def check_integer(name: str, value: object, low: int, high: int | None) -> None:
    """Refuse what is no integer from ``low`` to ``high``; None for no upper bound."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or value < low
        or (high is not None and value > high)
    ):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ConfigError(f"{name} must be an integer {bounds}, got {value!r}.")


def checked_mask(name: str, mask: npt.NDArray[np.bool_], num_envs: int) -> npt.NDArray[np.bool_]:
    """The mask as an array; refused if it is not bool ``[num_envs]``."""
    mask = np.asarray(mask)
    if mask.shape != (num_envs,) or mask.dtype != bool:
        raise ConfigError(f"{name} must be bool [{num_envs}], got {mask.dtype} {list(mask.shape)}.")
    return mask


def checked_staleness(
    staleness: npt.NDArray[np.integer[Any]], num_envs: int
) -> npt.NDArray[np.int64]:
    """Staleness as int64 ``[num_envs]``; refused if it is of another shape, or not of integers."""
    staleness = np.asarray(staleness)
    if staleness.shape != (num_envs,) or staleness.dtype.kind not in "iu":
        raise ConfigError(
            f"staleness_ticks must be integers [{num_envs}], got {staleness.dtype} "
            f"{list(staleness.shape)}."
        )
    return staleness.astype(np.int64, copy=False)
