"""ONNX, by torch's own exporters."""

from __future__ import annotations

import torch

from holdstep.errors import TraceError
from holdstep.extras import require
from holdstep.wrappers.export.backends.base import Method, first_lines
from holdstep.wrappers.export.backends.torch_base import Job, TorchBackend
from holdstep.wrappers.export.backends.torch_export import exported_program, number_of_rows


class OnnxDynamoBackend(TorchBackend):
    """Writes ``.onnx`` files from an exported program."""

    method: Method = "onnx-dynamo"

    def _write(self, job: Job) -> int | None:
        require("onnxscript", extra="export", purpose="Writing ONNX files")
        program = exported_program(job.module, job.inputs)
        try:
            torch.onnx.export(
                program,
                (),
                str(job.file),
                input_names=job.signature.input_names,
                output_names=job.signature.output_names,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # of many classes
            raise _untranslatable(error) from error
        return number_of_rows(program, job.inputs)


class OnnxTorchScriptBackend(TorchBackend):
    """Writes ``.onnx`` files from a trace, with torch's older exporter."""

    method: Method = "onnx-torchscript"

    def _write(self, job: Job) -> int | None:
        require("onnx", extra="export", purpose="Writing ONNX files")
        names = (*job.signature.input_names, *job.signature.output_names)
        rows = {name: {0: "rows"} for name in names}
        try:
            torch.onnx.export(
                job.module,
                job.inputs,
                str(job.file),
                input_names=list(job.signature.input_names),
                output_names=list(job.signature.output_names),
                dynamic_axes=rows,
                dynamo=False,
            )
        except Exception as error:  # of many classes
            raise _untranslatable(error) from error
        return None


def _untranslatable(error: Exception) -> TraceError:
    return TraceError(
        f"torch.onnx can't translate the pipeline: {first_lines(error)} The other ONNX method, or "
        "exported-program, may."
    )
