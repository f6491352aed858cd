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
        shape: in the model file.
        row_dim: which of its dimensions are the rows.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    row_dim: int = 0

    @classmethod
    def of(cls, name: str, spec: TensorSpec, num_rows: int, row_dim: int = 0) -> Slot:
        """The slot of a contract's tensor."""
        shape = (*spec.shape[:row_dim], num_rows, *spec.shape[row_dim:])
        return cls(name, getattr(torch, spec.dtype), shape, row_dim)

    def new_buffer(self) -> torch.Tensor:
        """Zeros on the CPU as the file has them, which may be edited in any mode."""
        with torch.inference_mode(False):
            return torch.zeros(self.shape, dtype=self.dtype)

    def by_rows(self, tensor: torch.Tensor) -> torch.Tensor:
        """A view of a tensor of the file's, with the rows first."""
        return tensor.movedim(self.row_dim, 0) if self.row_dim else tensor


@dataclass(frozen=True)
class Layout:
    """The tensors of one graph.

    Attributes:
        inputs: what the host gives.
        memories: what the graph is given as it returned it a step before.
        outputs: what the host gets.
        updates: the memories' new values, in the memories' order.
        input_order: for each tensor that a file takes by position, where it is in :attr:`taken`;
            empty for the same order.
        output_order: for each tensor of :attr:`returned`, where it is in what a file returns by
            position; empty for the same order.
    """

    inputs: tuple[Slot, ...]
    memories: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    updates: tuple[Slot, ...]
    input_order: tuple[int, ...] = ()
    output_order: tuple[int, ...] = ()

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

        row_dims = model.memory_row_dims or (0,) * len(memories)

        def slots(names: Sequence[str], specs: Sequence[TensorSpec]) -> tuple[Slot, ...]:
            return tuple(map(Slot.of, names, specs, [num_rows] * len(specs)))

        def memory_slots(names: Sequence[str]) -> tuple[Slot, ...]:
            return tuple(map(Slot.of, names, memories, [num_rows] * len(memories), row_dims))

        return cls(
            inputs=slots(model.inputs[: len(inputs)], inputs),
            memories=memory_slots(model.inputs[len(inputs) :]),
            outputs=slots(model.outputs[: len(outputs)], outputs),
            updates=memory_slots(model.outputs[len(outputs) :]),
            input_order=_positions(model.input_order, model.inputs),
            output_order=_positions(model.output_order and model.outputs, model.output_order),
        )

    @property
    def taken(self) -> tuple[Slot, ...]:
        """All that the graph takes, in the contract's order."""
        return self.inputs + self.memories

    @property
    def returned(self) -> tuple[Slot, ...]:
        """All that the graph returns, in the contract's order."""
        return self.outputs + self.updates


def _positions(names: Sequence[str], ordered: Sequence[str]) -> tuple[int, ...]:
    return tuple(map(ordered.index, names))


def _check_count(model: ModelFile, what: str, names: Sequence[str], expected: int) -> None:
    from holdstep.errors import ModelFileError

    if len(names) != expected:
        raise ModelFileError(
            f"The contract has {expected} {what} (memories included) for the {model.graph} graph, "
            f"its model {model.file!r} lists {len(names)}. Export the policy again."
        )
