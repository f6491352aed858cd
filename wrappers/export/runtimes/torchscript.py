"""TorchScript files, which can do things to the machine and so are loaded on request only."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import torch

from holdstep.errors import ModelFileError
from holdstep.wrappers.export.runtimes.torch_module import TorchRuntime

if TYPE_CHECKING:
    from holdstep.wrappers.export.runtimes.layout import Layout


def load_torchscript(
    data: bytes, layout: Layout, device: torch.device, *, allow_jit: bool, file: str
) -> TorchRuntime:
    """A runtime for a file that ``torch.jit.save`` wrote.

    TorchScript is a language of its own, whose functions include some that write files
    (``torch.from_file(..., shared=True)`` and ``torch.save``, for example). So whoever wrote the
    file can write files here, as soon as it runs.

    Raises:
        ModelFileError: it was not asked for, or the file can't be loaded.
    """
    if not allow_jit:
        raise ModelFileError(
            f"{file!r} is TorchScript, which can write any file that you can. If you trust who "
            "made it, load it with allow_jit=True (--allow-jit on the command line). Files of the "
            "methods onnx-dynamo, onnx-torchscript and exported-program need no trust."
        )
    with warnings.catch_warnings():
        # torch deprecates TorchScript as a whole; whoever asks for it has decided.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        try:
            module = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(data), map_location=device
            )
        except Exception as error:  # of several classes, by where the file is damaged
            raise ModelFileError(f"torch can't load {file!r}: {error}") from error
    return TorchRuntime(module, layout, device)
