"""Tensors of each step on the host, without a wait for the device."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt
import torch

Arrays = list[npt.NDArray[Any]]

_Slot = list[torch.Tensor]
_Layout = tuple[tuple[torch.Size, torch.dtype], ...]

_NUM_SLOTS = 16


class HostCopies:
    """Hands tensors to a function as NumPy arrays, in order, when they have arrived.

    On the CPU that is at once, without a copy. From a GPU they are copied to pinned memory beside
    the computation and handed over by a later call, at the latest 16 calls on; only then, if the
    GPU is further behind than that, does a call wait for it.

    The arrays are this object's, or views of the tensors: valid until the function returns.

    Args:
        device: where the tensors live.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stages = device.type == "cuda"
        self._under_way: deque[tuple[torch.cuda.Event, _Slot, Callable[[Arrays], None]]] = deque()
        self._free: defaultdict[_Layout, list[_Slot]] = defaultdict(list)

    def hand_over(self, tensors: Sequence[torch.Tensor], to: Callable[[Arrays], None]) -> None:
        """Copy tensors, and hand over what has arrived by now.

        Args:
            tensors: they may be written to afterwards.
            to: gets the arrays.
        """
        if not self._stages:
            to([tensor.numpy() for tensor in tensors])
            return
        free = self._free[_layout(tensors)]
        slot = free.pop() if free else [_pinned_like(tensor) for tensor in tensors]
        for target, tensor in zip(slot, tensors, strict=True):
            target.copy_(tensor, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        # On the stream that copies: the current device may be another one.
        event.record(torch.cuda.current_stream(self._device))
        self._under_way.append((event, slot, to))
        while self._under_way and (len(self._under_way) >= _NUM_SLOTS or self._has_arrived()):
            self._finish_oldest()

    def finish(self) -> None:
        """Wait for everything that is under way, and hand it over."""
        while self._under_way:
            self._finish_oldest()

    def _has_arrived(self) -> bool:
        return bool(self._under_way[0][0].query())  # type: ignore[no-untyped-call]

    def _finish_oldest(self) -> None:
        event, slot, to = self._under_way.popleft()
        event.synchronize()
        to([tensor.numpy() for tensor in slot])
        self._free[_layout(slot)].append(slot)


def _layout(tensors: Sequence[torch.Tensor]) -> _Layout:
    return tuple((tensor.shape, tensor.dtype) for tensor in tensors)


def _pinned_like(tensor: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode(False):  # written to in any mode later
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
