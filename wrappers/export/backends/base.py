"""The protocol of what turns a module into a model file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import torch
from torch.jit._trace import TracerWarning

from holdstep.wrappers.export.contract import Memory, TensorSpec
from holdstep.wrappers.export.contract_file import file_digest

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import Contract, ModelFile

Graph: TypeAlias = Literal["policy", "apply"]
Method: TypeAlias = Literal[
    "onnx-dynamo", "onnx-torchscript", "jit-script", "jit-trace", "exported-program"
]
SUFFIXES: dict[str, str] = {
    "onnx-dynamo": ".onnx",
    "onnx-torchscript": ".onnx",
    "jit-script": ".pt",
    "jit-trace": ".pt",
    "exported-program": ".pt2",
}
"""Of the file that a method writes."""


@dataclass(frozen=True)
class Signature:
    """What a module takes and returns, in this order: inputs, memories; outputs, updates.

    Attributes:
        graph: which of a contract's graphs it is.
        inputs: what the host gives.
        memories: what it is given as it returned it a step before.
        outputs: what the host gets.
    """

    graph: Graph
    inputs: tuple[TensorSpec, ...]
    memories: tuple[Memory, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, contract: Contract, graph: Graph) -> Signature:
        """The signature of one of a contract's graphs."""
        if graph == "apply":
            return cls(graph, contract.apply_inputs, (), contract.apply_outputs)
        return cls(graph, contract.inputs, contract.memories, contract.outputs)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names in model files of what it takes."""
        specs = (*self.inputs, *(memory.spec for memory in self.memories))
        return tuple(spec.name for spec in specs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names in model files of what it returns."""
        updates = (memory.update_name for memory in self.memories)
        return (*(spec.name for spec in self.outputs), *updates)


class Backend(Protocol):
    """Turns a module into a model file.

    Attributes:
        name: ``"torch"`` or ``"leapp"``.
        method: how.
        max_rows: the most rows that it should be given to trace with; None for any number.
    """

    name: str
    method: Method
    max_rows: int | None

    def export(
        self,
        module: torch.nn.Module,
        example_inputs: Sequence[torch.Tensor],
        signature: Signature,
        folder: Path,
    ) -> ModelFile:
        """Write the file.

        Args:
            module: positional tensors in, a tuple of tensors out; every tensor has the rows as its
                leading dimension.
            example_inputs: to trace it with. They are not edited.
            signature: what it takes and returns; the file uses the names in it.
            folder: where the file is written.

        Returns:
            The file's entry in the contract. Its batch is the number of rows that the file was
            traced for, or None where the method left that open; whether the file really runs for
            any number is found out by running it.

        Raises:
            TraceError: this method can't do it.
            MissingExtraError: a package is not installed.
        """
        ...


def model_file(
    backend: Backend, signature: Signature, folder: Path, file: Path, *, batch: int | None
) -> ModelFile:
    """The entry in the contract of a file that was just written."""
    from holdstep.wrappers.export.contract import ModelFile

    return ModelFile(
        file=file.relative_to(folder).as_posix(),
        backend=f"{backend.name}:{backend.method}",
        graph=signature.graph,
        inputs=signature.input_names,
        outputs=signature.output_names,
        batch=batch,
        sha256=file_digest(file),
    )


def fresh_copies(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Copies that a tracer may do with what it wants, contiguous and without a history."""
    with torch.inference_mode(False):
        return tuple(tensor.detach().clone().contiguous() for tensor in tensors)


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Keep warnings from users that they can do nothing about: those about torch's own code.

    Warnings of the tracer about values that it bakes in get through.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*(torch.jit|TorchScript).*deprecated.*")
        # What torch's own layers ask of sizes; what terms ask of values is warned of.
        warnings.filterwarnings("ignore", category=TracerWarning, module=r"torch\.")
        # torch's own recurrent layers: their weights in another form, and a batch that is open.
        warnings.filterwarnings("ignore", message=r"[\s\S]*_flat_weights")
        warnings.filterwarnings("ignore", message=".*with a variable length with (GRU|LSTM|RNN)")
        warnings.filterwarnings("ignore", message=".*instance-level annotations on empty non-base")
        yield


def first_lines(error: BaseException, limit: int = 400) -> str:
    """What an error of torch's says, without its pages of advice."""
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]}..."
