"""Where in memory the rows of a slot's tensor lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from holdstep.envs.state.slot import Layout

Form = tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device]
"""All about a tensor's memory but its address."""


def form_of(tensor: torch.Tensor) -> Form:
    """What must be equal for two tensors' rows to lie alike."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


@dataclass(frozen=True, eq=False)
class RowMemory:
    """Rows that consist of blocks of contiguous bytes.

    Block ``b`` of row ``i`` starts ``block_offsets[b] + i * row_stride`` bytes behind the tensor's
    first entry.

    Attributes:
        block_offsets: int64 ``[B]`` [bytes]; B is the product of the dimensions before the rows'.
            Given twice in a row, ``[2 * B]``, so that a slice of it is what a ring looks like from
            any position.
        num_blocks: B.
        blocks_per_entry: of a ring's entry; B for all other layouts.
        row_stride: from one row to the next [bytes].
        block_bytes: length of a block [bytes].
    """

    block_offsets: NDArray[np.int64]
    num_blocks: int
    blocks_per_entry: int
    row_stride: int
    block_bytes: int

    @staticmethod
    def of(tensor: torch.Tensor, layout: Layout) -> RowMemory | None:
        """The memory of a tensor's rows, None if it is no such blocks.

        Args:
            tensor: has entries.
            layout: how rows lie in it.
        """
        dim, repeat = layout.dim, layout.repeat
        shape, stride, size = tensor.shape, tensor.stride(), tensor.element_size()
        block_entries = 1
        for index in range(tensor.ndim - 1, dim, -1):
            if shape[index] != 1 and stride[index] != block_entries:
                return None
            block_entries *= shape[index]
        if repeat != 1 and stride[dim] != block_entries:
            return None
        if tensor.is_conj() or tensor.is_neg():  # the bytes are not the values
            return None
        offsets = np.zeros(1, np.int64)
        for index in range(dim):
            if shape[index] != 1 and stride[index] == 0:
                return None
            steps = np.arange(shape[index], dtype=np.int64) * stride[index]
            offsets = (offsets[:, None] + steps).reshape(-1)
        num_blocks = offsets.size
        return RowMemory(
            block_offsets=np.tile(offsets * size, 2),
            num_blocks=num_blocks,
            blocks_per_entry=num_blocks // shape[0] if layout.ring else num_blocks,
            row_stride=stride[dim] * repeat * size,
            block_bytes=block_entries * repeat * size,
        )

    def offsets_from(self, first_entry: int) -> NDArray[np.int64]:
        """Offsets ``[B]`` of row 0's blocks, those of a ring's entry ``first_entry`` first."""
        first = first_entry * self.blocks_per_entry
        return self.block_offsets[first : first + self.num_blocks]
