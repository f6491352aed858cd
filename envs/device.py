"""Devices as users write them, made comparable."""

from __future__ import annotations

import torch

from holdstep.errors import ConfigError


def canonical_device(device: str | torch.device) -> torch.device:
    """A device as tensors report it: ``cuda`` becomes ``cuda:0`` (or the current one).

    Tensors on a GPU always report an index and those on the CPU never do, so that comparing devices
    needs the same on both sides.

    Raises:
        ConfigError: neither a CPU nor a CUDA device, or a CUDA device that is not there.

    >>> canonical_device("cpu:0")
    device(type='cpu')
    """
    if not isinstance(device, str | torch.device):
        raise ConfigError(
            f"A device is a string or torch.device, got {device!r}: use 'cpu' or 'cuda:0'."
        )
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"{device!r} is not a torch device: use 'cpu' or 'cuda:0'.") from error
    if resolved.type == "cpu":
        return torch.device("cpu")
    if resolved.type != "cuda":
        raise ConfigError(
            f"holdstep's envs run on CPUs and CUDA GPUs, got device={str(device)!r}: "
            "use 'cpu' or 'cuda:0'."
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            f"device={str(device)!r} was asked for, but torch finds no CUDA device. "
            "Use device='cpu', or install a CUDA build of torch."
        )
    if resolved.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    if resolved.index >= torch.cuda.device_count():
        raise ConfigError(
            f"device={str(device)!r} was asked for, but torch finds {torch.cuda.device_count()} "
            "CUDA device(s), counted from 0."
        )
    return resolved
