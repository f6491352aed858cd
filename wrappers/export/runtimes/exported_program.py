"""Exported programs of torch, run as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from holdstep.errors import ModelFileError
from holdstep.wrappers.export.backends.torch_export import unchecked_module
from holdstep.wrappers.export.runtimes.torch_module import TorchRuntime
from holdstep.wrappers.export.runtimes.vetted_program import vetted_program

if TYPE_CHECKING:
    from holdstep.wrappers.export.runtimes.layout import Layout


def load_exported_program(
    data: bytes, layout: Layout, device: torch.device, *, file: str
) -> TorchRuntime:
    """A runtime for a file that ``torch.export.save`` wrote.

    Raises:
        ModelFileError: the file can't be loaded, or may run code.
    """
    archive = vetted_program(data, file=file)
    try:
        module = unchecked_module(torch.export.load(archive))
    except Exception as error:  # of several classes, by where the file is damaged
        raise ModelFileError(f"torch can't load {file!r}: {error}") from error
    return TorchRuntime(module.to(device), layout, device)
