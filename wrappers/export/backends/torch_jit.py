"""TorchScript, by tracing or from an exported program."""

from __future__ import annotations

from pathlib import Path

import torch

from holdstep.errors import TraceError
from holdstep.wrappers.export.backends.base import Method, first_lines
from holdstep.wrappers.export.backends.source_paths import forget_source_of_script
from holdstep.wrappers.export.backends.torch_base import Job, TorchBackend
from holdstep.wrappers.export.backends.torch_export import exported_program, unchecked_module


class JitTraceBackend(TorchBackend):
    """Writes ``.pt`` files with ``torch.jit.trace``: bit-equal to the module.

    A trace holds what was computed once. What Python decided by the values of tensors is baked in,
    about which torch warns; those warnings are part of the report.
    """

    method: Method = "jit-trace"

    def _write(self, job: Job) -> int | None:
        try:
            # Checking would trace once more; the file is run against the module anyway.
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                job.module, job.inputs, check_trace=False
            )
        except Exception as error:  # of many classes
            raise TraceError(
                f"torch.jit.trace can't follow the pipeline: {first_lines(error)}"
            ) from error
        _save(traced, job.file)
        return None


class JitScriptBackend(TorchBackend):
    """Writes ``.pt`` files with ``torch.jit.script``.

    What is scripted is the graph of an exported program, since the terms' own Python code is more
    than TorchScript knows.
    """

    method: Method = "jit-script"

    def _write(self, job: Job) -> int | None:
        program = exported_program(job.module, job.inputs)
        try:
            scripted = torch.jit.script(scriptable(program))
        except Exception as error:  # of many classes
            raise TraceError(
                f"torch.jit.script can't express the pipeline: {first_lines(error)} "
                "Take jit-trace, or one of the other methods."
            ) from error
        _save(scripted, job.file)
        return None


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


def _save(script: torch.jit.ScriptModule, file: Path) -> None:
    """Write a script; nothing in the file says whether the number of rows is open."""
    script.save(str(file))
    forget_source_of_script(file)
