"""The CUDA stream of a worker, and tensors that cross from and to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch


def nothing() -> None:
    """There is nothing to take over."""


class WorkerStream:
    """Has a worker's GPU work done beside the env's, with tensors complete on either side.

    On a CPU it does nothing.

    Args:
        device: of the env.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def current(self) -> contextlib.AbstractContextManager[object]:
        """While it lasts, this thread's work goes to the stream."""
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def hand_over(self) -> Callable[[], None]:
        """What the worker calls before it reads tensors that the host's stream makes by now.

        Their memory is the host's stream's, which gets it back when the worker lets go of them:
        after :meth:`complete`, when nothing reads them any more.
        """
        stream = self._stream
        if stream is None:
            return nothing
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record(torch.cuda.current_stream(stream.device))
        return lambda: stream.wait_event(ready)

    def complete(self) -> None:
        """Worker: wait until what it has done on the GPU is done."""
        if self._stream is not None:
            self._stream.synchronize()

    def taken(self, tensor: torch.Tensor) -> torch.Tensor:
        """Host: a worker's tensor, for use in this thread's stream, which may outlast it."""
        if self._stream is not None and tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
        return tensor
