"""Row ids as users write them, made into one canonical form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

from holdstep.errors import InvalidEnvIdsError

EnvIds: TypeAlias = "int | Sequence[int] | np.ndarray | torch.Tensor"
"""One id, a sequence of ids, or a bool mask of shape ``[num_envs]``."""


def canonical_env_ids(env_ids: EnvIds, *, num_envs: int, device: torch.device) -> torch.Tensor:
    """Row ids as a 1-D int64 tensor on ``device``.

    Reads the ids back to check them, which waits for a GPU: fit for ``reset`` and ``suspend``,
    not for ``step``.

    Args:
        env_ids: one id, ids, or a bool mask ``[num_envs]``. Ids may be int32 or int64.
        num_envs: number of rows.
        device: where the result lives.

    Returns:
        The ids, int64 ``[k]``, in the order given (a mask's in ascending order).

    Raises:
        InvalidEnvIdsError: not integers or a mask, out of range, repeated, or not 1-D.

    >>> canonical_env_ids([2, 0], num_envs=4, device=torch.device("cpu"))
    tensor([2, 0])
    >>> canonical_env_ids([True, False, True], num_envs=3, device=torch.device("cpu"))
    tensor([0, 2])
    """
    ids = _as_tensor(env_ids)
    if ids.numel() == 0:
        return torch.empty(0, dtype=torch.int64, device=device)
    if ids.dtype == torch.bool:
        if ids.shape != (num_envs,):
            raise InvalidEnvIdsError(
                f"A bool mask of rows must have shape ({num_envs},), got {tuple(ids.shape)}."
            )
        return ids.nonzero().squeeze(-1).to(device)
    if ids.is_floating_point() or ids.is_complex():
        raise InvalidEnvIdsError(f"env_ids must be integers or a bool mask, got {ids.dtype}.")
    if ids.ndim == 0:
        ids = ids.reshape(1)
    if ids.ndim != 1:
        raise InvalidEnvIdsError(f"env_ids must be 1-D, got shape {tuple(ids.shape)}.")
    ids = ids.to(device=device, dtype=torch.int64)
    low, high = (int(bound) for bound in torch.aminmax(ids))
    if low < 0 or high >= num_envs:
        wrong = low if low < 0 else high
        raise InvalidEnvIdsError(
            f"env_ids must lie in [0, {num_envs}), got {wrong} (the env has {num_envs} rows)."
        )
    if bool((ids.sort().values.diff() == 0).any()):
        raise InvalidEnvIdsError(f"env_ids must not repeat, got {ids.tolist()}.")
    return ids


def _as_tensor(env_ids: EnvIds) -> torch.Tensor:
    if isinstance(env_ids, np.ndarray):
        env_ids = np.ascontiguousarray(env_ids)  # torch takes no negative strides
    try:
        ids = torch.as_tensor(env_ids)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidEnvIdsError(
            f"env_ids must be one row, a list or array of rows, or a bool mask, got {env_ids!r}. "
            "To mean all rows, leave env_ids out."
        ) from error
    if ids.layout != torch.strided or ids.is_meta:
        raise InvalidEnvIdsError(
            f"env_ids must be a dense tensor with values, got layout {ids.layout} on {ids.device}."
        )
    return ids
