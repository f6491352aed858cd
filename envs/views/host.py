"""Tensors as NumPy arrays, with one wait for the device however many they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


def to_host(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Copies of the tensors as arrays that share memory with nothing.

    From a GPU, all copies are queued into pinned memory and waited for once. Each array keeps its
    pinned block alive, so PyTorch hands the block out again only when the array is gone.

    Args:
        tensors: on any devices, of any shapes and dtypes.

    Returns:
        Arrays of the same names, shapes and dtypes.

    >>> to_host({"reward": torch.ones(2)})
    {'reward': array([1., 1.], dtype=float32)}
    """
    # copy=True: a tensor that is on the host already would otherwise come back as itself.
    copies = {
        name: tensor.detach().to("cpu", non_blocking=True, copy=True)
        for name, tensor in tensors.items()
    }
    for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
        torch.cuda.current_stream(device).synchronize()
    return {name: copy.numpy() for name, copy in copies.items()}
