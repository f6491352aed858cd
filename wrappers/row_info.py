"""A batch's info as seen by one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from holdstep.envs.contract import Info

_NOT_BY_ROW = frozenset({"log"})
"""The simulator's statistics over all rows, whatever the shapes in it."""


class RowInfos:
    """Takes the entries of single rows out of the info of a step.

    Reads the masks to the host once, which waits for a GPU.

    Args:
        info: of a step of all rows.
        num_envs: number of rows.

    >>> infos = RowInfos({"a": torch.tensor([1, 2]), "_a": torch.tensor([True, False])}, 2)
    >>> infos.row(0), infos.row(1)
    ({'a': tensor(1)}, {})
    """

    def __init__(self, info: Info, num_envs: int) -> None:
        self._info = info
        self._num_envs = num_envs
        self._masks: dict[int, list[bool]] = {}
        self._read_masks(info)

    def row(self, env_id: int) -> Info:
        """The entries that are set for a row, without their masks and without ``"active"``.

        Tensors and arrays are views of the batch's.
        """
        row = self._row_of(self._info, env_id)
        row.pop("active", None)
        return row

    def _read_masks(self, info: Info) -> None:
        for key, value in info.items():
            if _is_mask(key, info) and self._is_batch(value):
                self._masks[id(value)] = value.tolist()
            elif isinstance(value, dict) and key not in _NOT_BY_ROW:
                self._read_masks(value)

    def _row_of(self, info: Info, env_id: int) -> Info:
        row: Info = {}
        for key, value in info.items():
            if _is_mask(key, info):
                continue
            mask = self._masks.get(id(info.get(f"_{key}")))
            if mask is not None and not mask[env_id]:
                continue
            if key in _NOT_BY_ROW:
                row[key] = value
            elif isinstance(value, dict):
                row[key] = self._row_of(value, env_id)
            else:
                row[key] = value[env_id] if self._is_batch(value) else value
        return row

    def _is_batch(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor | np.ndarray) and value.shape[:1] == (self._num_envs,)


def _is_mask(key: str, info: Info) -> bool:
    return key.startswith("_") and key[1:] in info
