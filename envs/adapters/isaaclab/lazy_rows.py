"""Rows of quantities that assets compute when they are first read, and then keep for a while."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch

from holdstep.envs.adapters.isaaclab.plain import as_tensor
from holdstep.envs.adapters.isaaclab.state_names import ACCELERATIONS
from holdstep.envs.state.slot import Slot


class LazyRows:
    """Keeps derived quantities right for rows that were written to behind their backs.

    Such a quantity has *one* time stamp for all rows, and is computed for all of them when it is
    read and that time stamp is old. A row that was put back needs its value from before when the
    quantity was up to date then and is now (a row that was just reset legitimately shows an old
    value, which computing it anew would lose). When it was out of date at the time of the copy but
    is up to date now, because something read it meanwhile, it is computed anew for that row alone.
    Other rows are never touched, nor is the time stamp: they would see values that they would not
    have seen otherwise.

    Args:
        data_objects: the assets' data objects, by the prefix of their slots' names.
        num_envs: number of rows.
    """

    def __init__(self, data_objects: dict[str, Any], num_envs: int) -> None:
        self._data_objects = data_objects
        self._num_envs = num_envs
        self._copied: set[int] = set()

    def slots(self) -> Iterator[Slot]:
        """The quantities that exist so far; each is there only while it is up to date."""
        for prefix, data in self._data_objects.items():
            for name, buffer in _buffers(data):
                if name in ACCELERATIONS:
                    yield Slot(f"{prefix}.{name}", _contents(buffer))
                elif self._has_rows(buffer):
                    lookup = _current_contents(data, buffer)
                    yield Slot(f"{prefix}.{name}", lookup, is_derived=True)

    def num_made(self) -> int:
        """How many of the quantities have ever been computed."""
        return sum(
            buffer.data is not None
            for data in self._data_objects.values()
            for _, buffer in _buffers(data)
        )

    def note_hold(self, *, is_first: bool) -> None:
        """Rows have just been copied for being held.

        Args:
            is_first: no others are held.
        """
        current = {
            id(buffer)
            for data in self._data_objects.values()
            for _, buffer in _buffers(data)
            if _is_current(data, buffer)
        }
        self._copied = current if is_first else self._copied & current

    def held_rows_written(self, mask: torch.Tensor) -> None:
        """The held rows, bool ``[N]``, have been put back; complete what copies did not have."""
        for data in self._data_objects.values():
            for name, buffer in _buffers(data):
                if id(buffer) not in self._copied and name not in ACCELERATIONS:
                    _compute_rows(data, name, buffer, mask)

    def rows_written(self, mask: torch.Tensor, names: Collection[str]) -> None:
        """Rows, bool ``[N]``, have been overwritten from a snapshot that has some quantities.

        Args:
            mask: the rows.
            names: of the slots that the snapshot has.
        """
        for prefix, data in self._data_objects.items():
            for name, buffer in _buffers(data):
                if f"{prefix}.{name}" not in names and name not in ACCELERATIONS:
                    _compute_rows(data, name, buffer, mask)

    def _has_rows(self, buffer: Any) -> bool:
        tensor = as_tensor(buffer.data)
        return tensor is not None and tensor.ndim > 0 and tensor.shape[0] == self._num_envs


def _buffers(data: Any) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(data).items()):
        if type(value).__name__.startswith("TimestampedBuffer"):
            yield name, value


def _is_current(data: Any, buffer: Any) -> bool:
    return buffer.data is not None and bool(buffer.timestamp >= data._sim_timestamp)


def _contents(buffer: Any) -> Callable[[], torch.Tensor | None]:
    last: list[Any] = [None, None]

    def get() -> torch.Tensor | None:
        if buffer.data is not last[0]:
            last[:] = buffer.data, as_tensor(buffer.data)
        tensor: torch.Tensor | None = last[1]
        return tensor

    return get


def _current_contents(data: Any, buffer: Any) -> Callable[[], torch.Tensor | None]:
    contents = _contents(buffer)
    return lambda: contents() if _is_current(data, buffer) else None


def _compute_rows(data: Any, name: str, buffer: Any, mask: torch.Tensor) -> None:
    """Compute a quantity that is up to date anew, for some rows."""
    attribute = name.removeprefix("_")
    if not _is_current(data, buffer) or not hasattr(type(data), attribute):
        return
    before = as_tensor(buffer.data)
    if before is None or before.shape[:1] != mask.shape:
        return
    before = before.clone()
    buffer.timestamp = -1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are deprecated, but somebody reads them
        getattr(data, attribute)
    now = as_tensor(buffer.data)
    assert now is not None
    rows = mask.reshape(-1, *[1] * (now.ndim - 1))
    with torch.inference_mode():  # whatever mode it was made in
        now.copy_(torch.where(rows, now, before))
