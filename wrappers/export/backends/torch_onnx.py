"""ONNX, by torch's own exporters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from holdstep.errors import TraceError
from holdstep.extras import require
from holdstep.wrappers.export.backends.base import (
    Method,
    Signature,
    first_lines,
    fresh_copies,
    model_file,
    without_deprecations,
)
from holdstep.wrappers.export.backends.torch_export import exported_program, has_open_rows

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import ModelFile


class OnnxDynamoBackend:
    """Writes ``.onnx`` files from an exported program."""

    name: str = "torch"
    max_rows: int | None = None
    method: Method = "onnx-dynamo"

    def export(
        self,
        module: torch.nn.Module,
        example_inputs: Sequence[torch.Tensor],
        signature: Signature,
        folder: Path,
    ) -> ModelFile:
        """Write the file; see :meth:`Backend.export`."""
        require("onnxscript", extra="export", purpose="Writing ONNX files")
        program = exported_program(module, example_inputs)
        file = folder / f"{signature.graph}.onnx"
        try:
            with without_deprecations():
                torch.onnx.export(
                    program,
                    (),
                    str(file),
                    input_names=signature.input_names,
                    output_names=signature.output_names,
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
        except Exception as error:  # of many classes
            raise _untranslatable(error) from error
        batch = None if has_open_rows(program) else len(example_inputs[0])
        return model_file(self, signature, folder, file, batch=batch)


class OnnxTorchScriptBackend:
    """Writes ``.onnx`` files from a trace, with torch's older exporter."""

    name: str = "torch"
    max_rows: int | None = None
    method: Method = "onnx-torchscript"

    def export(
        self,
        module: torch.nn.Module,
        example_inputs: Sequence[torch.Tensor],
        signature: Signature,
        folder: Path,
    ) -> ModelFile:
        """Write the file; see :meth:`Backend.export`."""
        require("onnx", extra="export", purpose="Writing ONNX files")
        file = folder / f"{signature.graph}.onnx"
        names = (*signature.input_names, *signature.output_names)
        rows = {name: {0: "rows"} for name in names}
        try:
            with torch.no_grad(), without_deprecations():
                torch.onnx.export(
                    module,
                    fresh_copies(example_inputs),
                    str(file),
                    input_names=list(signature.input_names),
                    output_names=list(signature.output_names),
                    dynamic_axes=rows,
                    dynamo=False,
                )
        except Exception as error:  # of many classes
            raise _untranslatable(error) from error
        return model_file(self, signature, folder, file, batch=None)


def _untranslatable(error: Exception) -> TraceError:
    return TraceError(
        f"torch.onnx can't translate the pipeline: {first_lines(error)} The other ONNX method, or "
        "exported-program, may."
    )
