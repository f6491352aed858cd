"""Do something to a simulator's managers that is meant for some rows only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from holdstep.envs.adapters.preserve import is_container, is_expanded, is_helper, package_of

Restore = Callable[[Any], Any]
"""Takes what is there now, puts the kept rows back into it, and returns what belongs there."""


@contextmanager
def preserved_rows(
    owners: Iterable[object], rows: torch.Tensor, *, num_envs: int
) -> Iterator[None]:
    """Run a block, then restore what the owners held for some rows before it.

    For backends that compute the observations of all rows when they reset a few. Restored are, in
    ``rows``: the owners' tensors whose first dimension is ``num_envs``, and history buffers
    (``[length, num_envs, ...]``), also inside dictionaries, lists, modifiers, noise models and
    objects of the owner's own package (see :func:`~holdstep.envs.adapters.preserve.preserved`).
    Numbers that belong to no row (a buffer's pointer, a counter) are put back as they were; the
    rows that are *not* restored must not depend on them, as a history that was just refilled with
    a row's first entry does not.

    Args:
        owners: managers' terms, buffers and other objects whose attributes are state.
        rows: the rows to keep as they are, int64 ``[k]``.
        num_envs: number of rows of the simulator.
    """
    keeper = _RowKeeper(rows, num_envs)
    kept = [(owner, keeper.of_owner(owner)) for owner in owners]
    try:
        yield
    finally:
        for owner, restore in kept:
            restore(owner)


class _RowKeeper:
    """Makes restorers of the rows to keep."""

    def __init__(self, rows: torch.Tensor, num_envs: int) -> None:
        self._rows = rows
        self._num_envs = num_envs
        self._seen: dict[int, object] = {}  # keeps the objects alive, so that ids stay theirs
        self._package = ""

    def of_owner(self, owner: object) -> Restore:
        self._package = package_of(type(owner))
        return self._of_attributes(owner)

    def _of_attributes(self, owner: object) -> Restore:
        attributes = vars(owner)
        is_history = "_num_pushes" in attributes and "_buffer" in attributes
        restore = self._of_dict(attributes, row_axis={"_buffer": 1} if is_history else {})

        def restore_attributes(current: Any) -> Any:
            if current is owner:
                restore(attributes)
            return current

        return restore_attributes

    def _of(self, value: Any, row_axis: int = 0) -> Restore | None:
        if isinstance(value, bool | int | float):
            return lambda current: value
        if value is None or isinstance(value, str) or id(value) in self._seen:
            return None
        self._seen[id(value)] = value
        if isinstance(value, torch.Tensor):
            return self._of_tensor(value, row_axis)
        if isinstance(value, dict):
            return self._of_dict(value)
        if isinstance(value, list):
            return self._of_list(value)
        if is_container(value) or is_helper(value, self._package):
            return self._of_attributes(value)
        return None

    def _of_tensor(self, value: torch.Tensor, row_axis: int) -> Restore | None:
        shape = value.shape
        if value.ndim <= row_axis or shape[row_axis] != self._num_envs or is_expanded(value):
            return None
        rows = self._rows
        kept = value.index_select(row_axis, rows)

        def restore_rows(current: Any) -> Any:
            # The backend may have made a new tensor (torch.roll): its rows are the ones to fill.
            if isinstance(current, torch.Tensor) and current.shape == shape:
                current.index_copy_(row_axis, rows, kept.to(current.dtype))
            return current

        return restore_rows

    def _of_dict(self, value: dict[Any, Any], row_axis: dict[str, int] | None = None) -> Restore:
        axes = row_axis or {}
        restorers = {key: self._of(item, axes.get(key, 0)) for key, item in value.items()}

        def restore_items(current: Any) -> Any:
            for key, restore in restorers.items():
                if restore is not None and isinstance(current, dict) and key in current:
                    current[key] = restore(current[key])
            return current

        return restore_items

    def _of_list(self, value: list[Any]) -> Restore:
        restorers = [self._of(item) for item in value]

        def restore_items(current: Any) -> Any:
            if isinstance(current, list) and len(current) == len(restorers):
                for index, restore in enumerate(restorers):
                    if restore is not None:
                        current[index] = restore(current[index])
            return current

        return restore_items
