"""A torch module as a runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import ModelFileError
from holdstep.wrappers.export.runtimes.base import Value, as_tensor

if TYPE_CHECKING:
    from holdstep.wrappers.export.runtimes.layout import Layout


class TorchRuntime:
    """Calls a module with the inputs and memories, and keeps what it returns for the memories.

    Args:
        module: takes inputs and memories, and returns outputs and the memories' updates, in the
            layout's orders.
        layout: of its tensors.
        device: where it computes.
    """

    def __init__(self, module: Callable[..., Any], layout: Layout, device: torch.device) -> None:
        self._module = module
        self._layout = layout
        self._device = device
        self._input_order = layout.input_order or range(len(layout.taken))
        self._output_order = layout.output_order or range(len(layout.returned))
        self._memories = [slot.new_buffer().to(device) for slot in layout.memories]

    @property
    def memories(self) -> Sequence[torch.Tensor]:
        """What the module will be given, ``[N, *shape]`` each."""
        return [
            slot.by_rows(memory)
            for slot, memory in zip(self._layout.memories, self._memories, strict=True)
        ]

    def step(self, inputs: Sequence[Value]) -> list[torch.Tensor]:
        """Run the module once.

        Raises:
            ModelFileError: it returned more or fewer tensors than its contract has.
        """
        # Outside of the caller's inference mode: tensors made in it could not be reset outside it.
        with torch.inference_mode(False), torch.no_grad():
            values = [
                as_tensor(value).to(device=self._device, dtype=slot.dtype)
                for value, slot in zip(inputs, self._layout.inputs, strict=True)
            ]
            values += self._memories
            returned = self._module(*(values[index] for index in self._input_order))
            if isinstance(returned, torch.Tensor):
                returned = (returned,)
            if len(returned) != len(self._output_order):
                raise ModelFileError(
                    f"The model returned {len(returned)} tensors, and its contract has "
                    f"{len(self._output_order)} (updates of memories included). Export it again."
                )
            # Cloned, since a graph may return a tensor that it was given.
            returned = [returned[index].clone() for index in self._output_order]
        num_outputs = len(self._layout.outputs)
        self._memories = returned[num_outputs:]
        return returned[:num_outputs]
