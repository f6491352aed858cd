"""What turns the pure pipeline into model files."""

from __future__ import annotations

from typing import get_args

from holdstep.errors import ConfigError, nearest_names
from holdstep.wrappers.export.backends.base import Backend, Method

__all__ = ["DEFAULT_METHOD", "make_backend"]

DEFAULT_METHOD: Method = "onnx-dynamo"
"""Its files run wherever onnxruntime does, and fastest."""


def make_backend(name: str, method: str | None = None) -> Backend:
    """A backend by name.

    Args:
        name: ``"torch"`` or ``"leapp"``.
        method: one of the five methods, the same for both; by default :data:`DEFAULT_METHOD`.

    Raises:
        ConfigError: there is no such backend or method.
        MissingExtraError: leapp was asked for and is not installed.
    """
    chosen = DEFAULT_METHOD if method is None else method
    if chosen not in get_args(Method):
        raise ConfigError(
            f"method must be one of {', '.join(get_args(Method))}, got {method!r}."
            f"{nearest_names(str(method), get_args(Method))}"
        )
    if name == "leapp":
        from holdstep.wrappers.export.backends.leapp import LeappBackend

        return LeappBackend(chosen)  # type: ignore[arg-type]  # checked above
    if name != "torch":
        raise ConfigError(f"backend must be 'torch' or 'leapp', got {name!r}.")
    from holdstep.wrappers.export.backends import torch_export, torch_jit, torch_onnx

    by_method: dict[str, type[Backend]] = {
        "exported-program": torch_export.ExportedProgramBackend,
        "jit-trace": torch_jit.JitTraceBackend,
        "jit-script": torch_jit.JitScriptBackend,
        "onnx-dynamo": torch_onnx.OnnxDynamoBackend,
        "onnx-torchscript": torch_onnx.OnnxTorchScriptBackend,
    }
    return by_method[chosen]()
