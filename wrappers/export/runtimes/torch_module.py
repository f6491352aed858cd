"""A torch module as a runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from holdstep.wrappers.export.runtimes.base import Value, as_tensor

if TYPE_CHECKING:
    from holdstep.wrappers.export.runtimes.layout import Layout


class TorchRuntime:
    """Calls a module with the inputs and memories, and keeps what it returns for the memories.

    Args:
        module: ``(*inputs, *memories) -> (*outputs, *updates)``.
        layout: of its tensors.
        device: where it computes.
    """

    def __init__(self, module: Callable[..., Any], layout: Layout, device: torch.device) -> None:
        self._module = module
        self._layout = layout
        self._device = device
        self._memories = [slot.new_buffer().to(device) for slot in layout.memories]

    @property
    def memories(self) -> Sequence[torch.Tensor]:
        """What the module will be given, ``[N, *shape]`` each."""
        return self._memories

    def step(self, inputs: Sequence[Value]) -> list[torch.Tensor]:
        """Run the module once."""
        # Outside of the caller's inference mode: tensors made in it could not be reset outside it.
        with torch.inference_mode(False), torch.no_grad():
            values = [
                as_tensor(value).to(device=self._device, dtype=slot.dtype)
                for value, slot in zip(inputs, self._layout.inputs, strict=True)
            ]
            returned = self._module(*values, *self._memories)
            if isinstance(returned, torch.Tensor):
                returned = (returned,)
            # Cloned, since a graph may return a tensor that it was given.
            returned = [tensor.clone() for tensor in returned]
        num_outputs = len(self._layout.outputs)
        self._memories = returned[num_outputs:]
        return returned[:num_outputs]
