"""The CUDA stream of a worker, and tensors that cross from and to it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

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

    def hand_over(self, value: Any) -> Callable[[], None]:
        """What the worker calls before it reads tensors that the host's stream makes by now.

        Their memory is the host's stream's, which gets it back when the worker lets go of them; not
        before the worker's stream has done what it was to do with them by then.

        Args:
            value: in which the tensors are.
        """
        stream = self._stream
        if stream is None:
            return nothing
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record(torch.cuda.current_stream(stream.device))

        def take_over() -> None:
            stream.wait_event(ready)
            _keep_for(stream, value)

        return take_over

    def complete(self) -> None:
        """Worker: wait until what it has done on the GPU is done."""
        if self._stream is not None:
            self._stream.synchronize()

    def taken(self, value: Any) -> None:
        """Host: a worker's tensors are for use in this thread's stream, which may outlast them."""
        if self._stream is not None:
            _keep_for(torch.cuda.current_stream(self._stream.device), value)


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in dicts, lists, tuples, sets and dataclasses, however deep."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name, None))


def _keep_for(stream: torch.cuda.Stream, value: Any) -> None:
    """Have memory be used again only after what this stream does by then with the tensors in it."""
    for tensor in tensors_in(value):
        if tensor.is_cuda:
            tensor.record_stream(stream)
