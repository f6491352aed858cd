"""Where slots are filled: directly in the blocks of the ring, or on a GPU first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

if TYPE_CHECKING:
    from holdstep.wrappers.record.ring import Block, BlockRing


class Slot(NamedTuple):
    """Memory of all rows at one time, to be written by the env loop.

    Attributes:
        words: float32 ``[N, W]``, of which only the bits count.
        bytes_: uint8 ``[N, B]``.
        flags: bool ``[5 * N]``: each flag of all rows, one after the other.
    """

    words: torch.Tensor
    bytes_: torch.Tensor
    flags: torch.Tensor


class Staging(Protocol):
    """How slots come into blocks of a ring.

    A block is filled from :meth:`open` to :meth:`send`, one at a time; its slots must not be
    touched after that. The blocks that were sent arrive in the same order.
    """

    def open(self, index: int) -> Sequence[Slot]:
        """The slots that will be those of block ``index``."""
        ...

    def send(self, index: int, num_slots: int) -> None:
        """The first slots of the block are filled: bring them into the ring."""
        ...

    def oldest_arrived(self, *, waits: bool) -> bool:
        """Whether the oldest block that was sent is in the ring; it is not asked for again then."""
        ...

    def close(self) -> None:
        """Wait for what is under way, and give the memory back."""
        ...


class HostStaging:
    """Slots are those of the ring's blocks themselves: a CPU writes each value once.

    Args:
        ring: the blocks.
    """

    def __init__(self, ring: BlockRing) -> None:
        num_bytes = ring.shape.num_bytes
        self._slots = [
            slots_of(*planes_of(ring[index]), num_bytes) for index in range(ring.num_blocks)
        ]

    def open(self, index: int) -> Sequence[Slot]:
        """The slots of block ``index``."""
        return self._slots[index]

    def send(self, index: int, num_slots: int) -> None:
        """They are there."""

    def oldest_arrived(self, *, waits: bool) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Nothing is under way; the tensors go with the ring."""
        self._slots = []


def slots_of(words: torch.Tensor, small: torch.Tensor, num_bytes: int) -> list[Slot]:
    """The slots of a block as tensors that share its memory, and may be written to in any mode.

    Args:
        words: int32 ``[slots, N, W]``.
        small: uint8 ``[slots, N * (B + 5)]``.
        num_bytes: B.
    """
    num_envs = words.shape[1]
    split = num_envs * num_bytes
    with torch.inference_mode(False):
        return [
            Slot(
                words[slot].view(torch.float32),
                small[slot, :split].view(num_envs, num_bytes),
                small[slot, split:].view(torch.bool),
            )
            for slot in range(len(words))
        ]


def planes_of(block: Block) -> tuple[torch.Tensor, torch.Tensor]:
    """A block's words and what is smaller, as tensors that share its memory."""
    with torch.inference_mode(False):
        return torch.from_numpy(block.words), torch.from_numpy(block.small)
