"""The tensors of one model file, as the program that runs it sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import Contract, ModelFile, TensorSpec


@dataclass(frozen=True)
class Slot:
    """One tensor that goes in or out.

    Attributes:
        name: in the model file.
        dtype: of its entries.
        shape: with the leading dimension, the rows.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, spec: TensorSpec, num_rows: int) -> Slot:
        """The slot of a contract's tensor."""
        return cls(name, getattr(torch, spec.dtype), (num_rows, *spec.shape))

    def new_buffer(self) -> torch.Tensor:
        """Zeros on the CPU, which may be edited in any mode."""
        with torch.inference_mode(False):
            return torch.zeros(self.shape, dtype=self.dtype)


@dataclass(frozen=True)
class Layout:
    """The tensors of one graph, in the order in which it takes and returns them.

    Attributes:
        inputs: what the host gives.
        memories: what the graph is given as it returned it a step before; they come after the
            inputs.
        outputs: what the host gets.
        updates: the memories' new values, in the memories' order; they come after the outputs.
    """

    inputs: tuple[Slot, ...]
    memories: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    updates: tuple[Slot, ...]

    @classmethod
    def of(cls, contract: Contract, model: ModelFile, num_rows: int) -> Layout:
        """The layout of one of a contract's models, run for ``num_rows`` rows.

        Raises:
            ModelFileError: the model names more or fewer tensors than the contract has.
        """
        if model.graph == "apply":
            inputs, memories, outputs = contract.apply_inputs, [], contract.apply_outputs
        else:
            inputs, outputs = contract.inputs, contract.outputs
            memories = [memory.spec for memory in contract.memories]
        _check_count(model, "inputs", model.inputs, len(inputs) + len(memories))
        _check_count(model, "outputs", model.outputs, len(outputs) + len(memories))

        def slots(names: Sequence[str], specs: Sequence[TensorSpec]) -> tuple[Slot, ...]:
            return tuple(map(Slot.of, names, specs, [num_rows] * len(specs)))

        return cls(
            inputs=slots(model.inputs[: len(inputs)], inputs),
            memories=slots(model.inputs[len(inputs) :], memories),
            outputs=slots(model.outputs[: len(outputs)], outputs),
            updates=slots(model.outputs[len(outputs) :], memories),
        )

    @property
    def taken(self) -> tuple[Slot, ...]:
        """All that the graph takes."""
        return self.inputs + self.memories

    @property
    def returned(self) -> tuple[Slot, ...]:
        """All that the graph returns."""
        return self.outputs + self.updates


def _check_count(model: ModelFile, what: str, names: Sequence[str], expected: int) -> None:
    from holdstep.errors import ModelFileError

    if len(names) != expected:
        raise ModelFileError(
            f"The contract has {expected} {what} (memories included) for the {model.graph} graph, "
            f"its model {model.file!r} lists {len(names)}. Export the policy again."
        )
