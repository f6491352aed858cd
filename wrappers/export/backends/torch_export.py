"""``torch.export``: an exported program as a file, and as the first step of other methods."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from holdstep.errors import TraceError
from holdstep.wrappers.export.backends.base import Method, first_lines
from holdstep.wrappers.export.backends.source_paths import forget_source
from holdstep.wrappers.export.backends.torch_base import Job, TorchBackend


class ExportedProgramBackend(TorchBackend):
    """Writes ``.pt2`` files: bit-equal to the module, and runnable by torch without Python code."""

    method: Method = "exported-program"

    def _write(self, job: Job) -> int | None:
        program = exported_program(job.module, job.inputs)
        torch.export.save(program, job.file)
        return number_of_rows(program, job.inputs)


def exported_program(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
) -> torch.export.ExportedProgram:
    """Trace a module into operators, with the number of rows left open where it can be.

    Args:
        module: positional tensors in, a tuple of tensors out.
        inputs: to trace it with; nobody else's. With one row, torch takes the number for fixed.

    Raises:
        TraceError: torch can't follow what the module does. What depends on values of tensors
            (``if``, ``.item()``, ``.tolist()``) is among that, which is as well: it would be baked
            in.
    """
    shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for tensor in inputs:
        if tensor.ndim:
            shapes[tensor] = {0: torch.export.Dim.AUTO}
    try:
        program = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # of many classes, most of them internal to torch
        raise TraceError(
            f"torch.export can't follow the pipeline: {first_lines(error)} Terms must compute with "
            "tensors: no Python `if`, `.item()` or `.tolist()` on their values."
        ) from error
    forget_source(program)
    return program


def number_of_rows(
    program: torch.export.ExportedProgram, inputs: tuple[torch.Tensor, ...]
) -> int | None:
    """The rows that a program is for; None if every input's leading dimension was left open.

    Args:
        program: of a module.
        inputs: that it was traced with.
    """
    placeholders = [
        node
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    is_open = all(isinstance(node.meta["val"].shape[0], torch.SymInt) for node in placeholders)
    return None if is_open else len(inputs[0])


def unchecked_module(program: torch.export.ExportedProgram) -> torch.fx.GraphModule:
    """A program's module, without the checks of shapes that newer versions of torch put in."""
    unchecked = {"check_guards": False}
    known = inspect.signature(program.module).parameters
    module = program.module(**{key: value for key, value in unchecked.items() if key in known})
    assert isinstance(module, torch.fx.GraphModule)
    return module
