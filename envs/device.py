"""Devices as users write them, made comparable."""

from __future__ import annotations

import torch

from holdstep.errors import ConfigError


def canonical_device(device: str | torch.device) -> torch.device:
    """A device with its index: ``cuda`` becomes ``cuda:0`` (or the current one), ``cpu`` stays.

    Tensors always report an index, so that comparing devices needs one on both sides.

    Raises:
        ConfigError: not a device, or CUDA is asked for where there is none.
    """
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"{device!r} is not a torch device: use 'cpu' or 'cuda:0'.") from error
    if resolved.type != "cuda":
        return resolved
    if not torch.cuda.is_available():
        raise ConfigError(
            f"device={str(device)!r} was asked for, but torch finds no CUDA device. "
            "Use device='cpu', or install a CUDA build of torch."
        )
    if resolved.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return resolved
