"""The caller's actions, for rows that have no source."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from holdstep.errors import InvalidActionError


def given_actions(actions: Any, *, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Actions ``[N, A]`` as a tensor; their values are checked by the env.

    Args:
        actions: what the caller gave; None for nothing.
        shape: of all rows' actions.
        device: of the env.

    Raises:
        InvalidActionError: they are missing, or of another type or shape.
    """
    if isinstance(actions, np.ndarray) and actions.dtype.kind in "fiu":
        actions = torch.from_numpy(actions.copy()).to(device)
    if not isinstance(actions, torch.Tensor) or tuple(actions.shape) != shape:
        got = tuple(actions.shape) if hasattr(actions, "shape") else type(actions).__name__
        raise InvalidActionError(
            f"Some rows have no source, so step() needs actions of shape {shape} on {device}, of "
            f"which those rows' are used; got {got}."
        )
    return actions
