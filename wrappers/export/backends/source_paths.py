"""Model files without the paths of the source files that they were traced from.

torch notes for each operator where in which file it came about, which says nothing to a robot, and
much about the machine and its user.
"""

from __future__ import annotations

from pathlib import Path

import torch

_VERSIONS = ("version", ".data/version")
_WRITTEN_ANYWAY = {*_VERSIONS, ".data/serialization_id"}


def forget_source(program: torch.export.ExportedProgram) -> None:
    """Take the stack traces out of a program, before it is written or translated."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


def forget_source_of_script(file: Path) -> None:
    """Write a TorchScript file anew without its records of lines in source files."""
    reader = torch._C.PyTorchFileReader(str(file))
    names = reader.get_all_records()
    version = next(reader.get_record(name) for name in names if name in _VERSIONS)
    kept = {
        name: reader.get_record(name)
        for name in names
        if not name.endswith(".debug_pkl") and name not in _WRITTEN_ANYWAY
    }
    del reader
    writer = torch._C.PyTorchFileWriter(str(file))
    writer.set_min_version(int(version))  # it says what operators mean
    for name, record in kept.items():
        writer.write_record(name, record, len(record))
    writer.write_end_of_file()
