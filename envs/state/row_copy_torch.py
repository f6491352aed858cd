"""Copying rows of one tensor with torch: for what the fused copy can't do, or where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from holdstep.envs.state.slot import Layout, Slot


def save_rows(slot: Slot, live: torch.Tensor, saved: torch.Tensor, env_ids: torch.Tensor) -> None:
    """Copy rows to where they are kept.

    Args:
        slot: says how rows lie in both tensors.
        live: the slot's tensor.
        saved: of the same shape; a ring's oldest entry is its first.
        env_ids: int64 ``[k]``.
    """
    rows = _rows_first(live, slot.layout)[env_ids]
    if slot.position is not None:
        rows = rows.roll(-(slot.position() + 1), 1)
    _rows_first(saved, slot.layout).index_copy_(0, env_ids, rows)


def saved_rows(slot: Slot, saved: torch.Tensor, env_ids: torch.Tensor) -> torch.Tensor:
    """Rows that :func:`save_rows` saved, as a tensor ``[k, ...]``."""
    return _rows_first(saved, slot.layout)[env_ids]


def put_rows_back(
    slot: Slot, live: torch.Tensor, rows: torch.Tensor, env_ids: torch.Tensor
) -> None:
    """Write what :func:`saved_rows` returned into a slot's tensor; waits for no GPU."""
    if slot.position is not None:
        rows = rows.roll(slot.position() + 1, 1)
    view = _rows_first(live, slot.layout)
    for dim in range(1, view.ndim):
        if view.stride(dim) == 0:  # one entry that is shown many times; torch refuses to write many
            view, rows = view.narrow(dim, 0, 1), rows.narrow(dim, 0, 1)
    view.index_copy_(0, env_ids, rows)


def _rows_first(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    if layout.repeat != 1:
        shape = tensor.shape
        tensor = tensor.view(*shape[: layout.dim], -1, layout.repeat, *shape[layout.dim + 1 :])
    return tensor.movedim(layout.dim, 0)
