"""Tensors of the moment, copied to the host for later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy.typing as npt
import torch

from holdstep.errors import RecordingError

Path = tuple[str, ...]


class HostCopy:
    """A copy of tensors in host memory, which nobody else has.

    Tensors of a GPU are on their way when the constructor returns: they are copied into pinned
    memory behind what the GPU computes now. Whoever asks for them waits until they are there, in
    whatever thread. What happens to the tensors, or to their memory, afterwards is ordered behind
    the copy.

    Args:
        data: tensors, lists of tensors of one shape (they are stacked), and mappings of those.

    Attributes:
        num_bytes: of the copy.

    Raises:
        RecordingError: it holds something else.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        leaves = dict(_leaves(data))
        self._copies = {path: _copied(tensor) for path, tensor in leaves.items()}
        gpus = {tensor.device for tensor in leaves.values() if tensor.device.type == "cuda"}
        self._events = [_event(device) for device in gpus]
        self.num_bytes = sum(copy.nbytes for copy in self._copies.values())

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The copies by path, ``"obs/policy"``."""
        self._wait()
        return {"/".join(path): copy.numpy() for path, copy in self._copies.items()}

    def tensors(self) -> dict[str, Any]:
        """The copies in mappings like those that they came from."""
        self._wait()
        tree: dict[str, Any] = {}
        for path, copy in self._copies.items():
            branch = tree
            for name in path[:-1]:
                branch = branch.setdefault(name, {})
            branch[path[-1]] = copy
        return tree

    def _wait(self) -> None:
        for event in self._events:
            event.synchronize()


def _leaves(data: Mapping[str, Any], prefix: Path = ()) -> Iterator[tuple[Path, torch.Tensor]]:
    for name, value in data.items():
        path = (*prefix, str(name))
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        elif isinstance(value, torch.Tensor):
            yield path, value
        elif isinstance(value, list) and value and all(map(torch.is_tensor, value)):
            yield path, torch.stack(value)
        else:
            raise RecordingError(
                f"{'/'.join(path)!r} is a {type(value).__name__}; tensors can be handed over."
            )


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:  # which NumPy and HDF5 lack; float32 holds its values
        tensor = tensor.float()
    on_gpu = tensor.device.type == "cuda"
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=on_gpu)
    return copy.copy_(tensor, non_blocking=on_gpu)


def _event(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event
