"""Numbers on their way between the host and a device, without a wait for the device."""

from __future__ import annotations

import numpy as np
import torch

_STAGED_BYTES = 64 * 1024
"""CUDA takes so much of the host's memory along at once; before a longer copy it waits."""


def uploaded(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array of the host's as a tensor on a device; of a CPU, it is the array's own memory.

    A GPU is not waited for: it makes the copy in its turn. The array may be written to at once.
    """
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    if device.type == "cuda" and array.nbytes > _STAGED_BYTES:
        tensor = tensor.pin_memory()  # which torch keeps until it has been read
    return tensor.to(device, non_blocking=True)


def uploaded_rows(array: np.ndarray, device: torch.device) -> tuple[torch.Tensor, ...]:
    """The same for each row of an array, in one copy where there has to be one.

    On a CPU, nothing in it lets another thread take over in the middle, as torch's operations do.
    """
    if device.type == "cpu":
        return tuple(map(torch.from_numpy, array))
    return uploaded(array, device).unbind()


def moved(
    tensor: torch.Tensor, device: torch.device, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """A tensor on a device, complete for whoever reads it there; itself where it is there already.

    What goes to a GPU is in order with what reads it there. What comes from one is waited for: a
    copy to the host that is not would be handed out before it has arrived.
    """
    return tensor.to(device=device, dtype=dtype, non_blocking=device.type != "cpu")
