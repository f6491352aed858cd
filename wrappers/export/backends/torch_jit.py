"""TorchScript, by tracing or from an exported program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from holdstep.errors import TraceError
from holdstep.wrappers.export.backends.base import (
    Backend,
    Method,
    Signature,
    first_lines,
    fresh_copies,
    model_file,
    without_deprecations,
)
from holdstep.wrappers.export.backends.source_paths import forget_source_of_script
from holdstep.wrappers.export.backends.torch_export import exported_program, unchecked_module

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import ModelFile


class JitTraceBackend:
    """Writes ``.pt`` files with ``torch.jit.trace``: bit-equal to the module.

    A trace holds what was computed once. What Python decided by the values of tensors is baked in,
    about which torch warns; those warnings are part of the report.
    """

    name: str = "torch"
    max_rows: int | None = None
    method: Method = "jit-trace"

    def export(
        self,
        module: torch.nn.Module,
        example_inputs: Sequence[torch.Tensor],
        signature: Signature,
        folder: Path,
    ) -> ModelFile:
        """Write the file; see :meth:`Backend.export`."""
        try:
            with torch.no_grad(), without_deprecations():
                # Checking would trace once more; the file is run against the module anyway.
                traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                    module, fresh_copies(example_inputs), check_trace=False
                )
        except Exception as error:  # of many classes
            raise TraceError(
                f"torch.jit.trace can't follow the pipeline: {first_lines(error)}"
            ) from error
        return _saved(self, traced, signature, folder)


class JitScriptBackend:
    """Writes ``.pt`` files with ``torch.jit.script``.

    What is scripted is the graph of an exported program, since the terms' own Python code is more
    than TorchScript knows.
    """

    name: str = "torch"
    max_rows: int | None = None
    method: Method = "jit-script"

    def export(
        self,
        module: torch.nn.Module,
        example_inputs: Sequence[torch.Tensor],
        signature: Signature,
        folder: Path,
    ) -> ModelFile:
        """Write the file; see :meth:`Backend.export`."""
        program = exported_program(module, example_inputs)
        try:
            with without_deprecations():
                scripted = torch.jit.script(scriptable(program))
        except Exception as error:  # of many classes
            raise TraceError(
                f"torch.jit.script can't express the pipeline: {first_lines(error)} "
                "Take jit-trace, or one of the other methods."
            ) from error
        return _saved(self, scripted, signature, folder)


def scriptable(program: torch.export.ExportedProgram) -> torch.fx.GraphModule:
    """An exported program's graph, in the words that TorchScript knows."""
    module = unchecked_module(program)
    module.graph.set_codegen(torch.fx.graph.CodeGen())  # flat arguments instead of nested ones
    for node in list(module.graph.nodes):
        if node.op == "call_module" or "_assert" in str(node.target):
            module.graph.erase_node(node)  # checks of shapes, which whoever runs the file makes
        elif node.target is torch.ops.aten.sym_size.int:
            node.target = torch.ops.aten.size
        elif isinstance(node.target, torch._ops.OpOverload):
            # TorchScript chooses the overload by the types of the arguments.
            node.target = node.target.overloadpacket
    # A new module, without the hooks that check the old one's arguments.
    return torch.fx.GraphModule(module, module.graph)


def _saved(
    backend: Backend, script: torch.jit.ScriptModule, signature: Signature, folder: Path
) -> ModelFile:
    file = folder / f"{signature.graph}.pt"
    with without_deprecations():
        script.save(str(file))
    forget_source_of_script(file)
    # Nothing in the file says whether the number of rows is open.
    return model_file(backend, signature, folder, file, batch=None)
