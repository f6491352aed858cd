"""``torch.export``: an exported program as a file, and as the first step of other methods."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import TraceError
from holdstep.wrappers.export.backends.base import (
    Method,
    Signature,
    first_lines,
    fresh_copies,
    model_file,
    without_deprecations,
)
from holdstep.wrappers.export.backends.source_paths import forget_source

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import ModelFile


class ExportedProgramBackend:
    """Writes ``.pt2`` files: bit-equal to the module, and runnable by torch without Python code."""

    name: str = "torch"
    max_rows: int | None = None
    method: Method = "exported-program"

    def export(
        self,
        module: torch.nn.Module,
        example_inputs: Sequence[torch.Tensor],
        signature: Signature,
        folder: Path,
    ) -> ModelFile:
        """Write the file; see :meth:`Backend.export`."""
        program = exported_program(module, example_inputs)
        file = folder / f"{signature.graph}.pt2"
        with without_deprecations():
            torch.export.save(program, file)
        batch = None if has_open_rows(program) else len(example_inputs[0])
        return model_file(self, signature, folder, file, batch=batch)


def exported_program(
    module: torch.nn.Module, example_inputs: Sequence[torch.Tensor]
) -> torch.export.ExportedProgram:
    """Trace a module into operators, with the number of rows left open where it can be.

    Args:
        module: positional tensors in, a tuple of tensors out.
        example_inputs: to trace it with. With one row, torch takes the number for fixed.

    Raises:
        TraceError: torch can't follow what the module does. What depends on values of tensors
            (``if``, ``.item()``, ``.tolist()``) is among that, which is as well: it would be baked
            in.
    """
    inputs = fresh_copies(example_inputs)
    shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for tensor in inputs:
        if tensor.ndim:
            shapes[tensor] = {0: torch.export.Dim.AUTO}
    try:
        with torch.no_grad(), without_deprecations():
            program = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # of many classes, most of them internal to torch
        raise TraceError(
            f"torch.export can't follow the pipeline: {first_lines(error)} Terms must compute with "
            "tensors: no Python `if`, `.item()` or `.tolist()` on their values."
        ) from error
    forget_source(program)
    return program


def has_open_rows(program: torch.export.ExportedProgram) -> bool:
    """Whether every input's leading dimension was left open."""
    placeholders = [
        node
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    return all(isinstance(node.meta["val"].shape[0], torch.SymInt) for node in placeholders)


def unchecked_module(program: torch.export.ExportedProgram) -> torch.fx.GraphModule:
    """A program's module, without the checks of shapes that newer versions of torch put in."""
    unchecked = {"check_guards": False}
    known = inspect.signature(program.module).parameters
    module = program.module(**{key: value for key, value in unchecked.items() if key in known})
    assert isinstance(module, torch.fx.GraphModule)
    return module
