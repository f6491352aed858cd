"""Values as bytes for another process on this machine."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch


def dumps(value: Any) -> bytes:
    """Any value that can be pickled; tensors travel as arrays, from whatever device.

    Torch's own pickles of tensors are made by a thousand Python calls, and those of its
    multiprocessing use a file descriptor for each tensor, of which processes have few.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def loads(content: bytes | memoryview) -> Any:
    """What :func:`dumps` wrote, tensors on the CPU; only for bytes of a process of one's own."""
    return pickle.loads(content)


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not torch.Tensor or obj.layout != torch.strided:
            return NotImplemented
        tensor = obj.detach().cpu().contiguous()
        # As bytes: NumPy does not have all of torch's dtypes.
        return _tensor, (tensor.reshape(-1).view(torch.uint8).numpy(), obj.dtype, tuple(obj.shape))


def _tensor(content: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(content).view(dtype).reshape(shape)
