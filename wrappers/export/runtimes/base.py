"""The protocol of what runs a model file, and a runtime that goes row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from holdstep.wrappers.export.runtimes.layout import Layout

Value: TypeAlias = "torch.Tensor | npt.NDArray[np.generic]"


class Runtime(Protocol):
    """Runs one graph for a fixed number of rows, and keeps its memories between the steps."""

    @property
    def memories(self) -> Sequence[torch.Tensor]:
        """What the graph will be given, ``[N, *shape]`` each; rows are reset by editing these."""
        ...

    def step(self, inputs: Sequence[Value]) -> list[torch.Tensor]:
        """Run the graph once.

        Args:
            inputs: by the layout, with the right shapes and dtypes that can be cast. They are
                neither kept nor edited.

        Returns:
            The outputs, in memory of their own. The memories are those of the next step.
        """
        ...


def as_tensor(value: Value) -> torch.Tensor:
    """A value as a tensor, without its gradient; arrays of any strides."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    return value.detach()


class RowLoop:
    """Runs a graph that was traced for one row on several, one after the other.

    Args:
        runtime: for one row.
        layout: of all rows.
    """

    def __init__(self, runtime: Runtime, layout: Layout) -> None:
        self._runtime = runtime
        self._num_rows = layout.inputs[0].shape[0] if layout.inputs else layout.returned[0].shape[0]
        self._memories = [slot.by_rows(slot.new_buffer()) for slot in layout.memories]

    @property
    def memories(self) -> Sequence[torch.Tensor]:
        """What the graph will be given, ``[N, *shape]`` each."""
        return self._memories

    def step(self, inputs: Sequence[Value]) -> list[torch.Tensor]:
        """Run the graph once for each row."""
        rows = [self._step_row(slice(row, row + 1), inputs) for row in range(self._num_rows)]
        return [torch.cat(outputs) for outputs in zip(*rows, strict=True)]

    def _step_row(self, row: slice, inputs: Sequence[Value]) -> list[torch.Tensor]:
        for inner, outer in zip(self._runtime.memories, self._memories, strict=True):
            inner.copy_(outer[row])
        outputs = self._runtime.step([value[row] for value in inputs])
        for inner, outer in zip(self._runtime.memories, self._memories, strict=True):
            outer[row] = inner
        return outputs
