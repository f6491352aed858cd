"""Where slots are filled: directly in the blocks of the ring, or on a GPU first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from holdstep.wrappers.record.columns import WORD_BYTES

if TYPE_CHECKING:
    from holdstep.wrappers.record.ring import BlockRing, BlockShape, Filled


class Slot(NamedTuple):
    """Memory of all rows at one time, to be written by the env loop.

    Attributes:
        words: float32 ``[N, W]``, of which only the bits count.
        small: uint8 ``[N * (B + 5)]``: each column of bytes, and then each flag, of all rows.
        truths: the same memory as bool.
    """

    words: torch.Tensor
    small: torch.Tensor
    truths: torch.Tensor


class ObservedRows(NamedTuple):
    """Memory for observations of some rows, to be written by the env loop.

    Attributes:
        words: float32 ``[k * (1 + obs_words)]``, of which only the bits count: of each row its id,
            an int32, or -1 if it is not meant; then its words.
        bytes_: uint8 ``[k * obs_bytes]``.
    """

    words: torch.Tensor
    bytes_: torch.Tensor


class BlockTensors:
    """A block's memory as tensors, which may be written to in any mode.

    Args:
        memory: uint8 ``[shape.block_bytes]``, of a storage that begins with it.
        shape: of the block; see :class:`~holdstep.wrappers.record.ring.Block` for what lies where.

    Attributes:
        memory: all of it.
        view: the same for Python, where it is the host's; else empty.
        slots: by number.
    """

    def __init__(self, memory: torch.Tensor, shape: BlockShape) -> None:
        self.memory = memory
        self.view = memory.numpy().data if memory.device.type == "cpu" else memoryview(b"")
        self._shape = shape
        with torch.inference_mode(False):
            self._floats = memory.view(torch.float32)
            self.slots = [self._slot(number) for number in range(shape.num_slots)]

    def observed(self, end: int, num_rows: int) -> ObservedRows:
        """Memory for so many rows' observations that ends at a byte of the block."""
        shape = self._shape
        begin = (end - shape.observed_bytes(num_rows)) // WORD_BYTES
        split = begin + num_rows * (1 + shape.obs_words)
        bytes_begin = split * WORD_BYTES
        bytes_end = bytes_begin + num_rows * shape.obs_bytes
        return ObservedRows(self._floats[begin:split], self.memory[bytes_begin:bytes_end])

    def _slot(self, number: int) -> Slot:
        shape = self._shape
        begin = number * shape.slot_bytes
        small_begin = begin + shape.num_envs * shape.num_words * WORD_BYTES
        words = self._floats[begin // WORD_BYTES : small_begin // WORD_BYTES]
        end = small_begin + shape.small_bytes
        small = self.memory[small_begin:end]
        return Slot(words.view(shape.num_envs, shape.num_words), small, small.view(torch.bool))


class Staging(Protocol):
    """How what is recorded comes into blocks of a ring.

    A block is filled from :meth:`open` to :meth:`send`, one at a time; its memory must not be
    touched after that. The blocks that were sent arrive in the same order.
    """

    def open(self, index: int) -> BlockTensors:
        """The memory that will be that of block ``index``."""
        ...

    def send(self, index: int, filled: Filled) -> None:
        """This part of the block is filled: bring it into the ring."""
        ...

    def oldest_arrived(self, *, waits: bool) -> bool:
        """Whether the oldest block that was sent is in the ring; it is not asked for again then."""
        ...

    def close(self) -> None:
        """Wait for what is under way, and give the memory back."""
        ...


class HostStaging:
    """The memory is that of the ring's blocks itself: a CPU writes each value once.

    Args:
        ring: the blocks.
    """

    def __init__(self, ring: BlockRing) -> None:
        self._blocks = [BlockTensors(memory, ring.shape) for memory in memory_of(ring)]

    def open(self, index: int) -> BlockTensors:
        """The memory of block ``index``."""
        return self._blocks[index]

    def send(self, index: int, filled: Filled) -> None:
        """It is there."""

    def oldest_arrived(self, *, waits: bool) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Nothing is under way; the tensors go with the ring."""
        self._blocks = []


def memory_of(ring: BlockRing) -> list[torch.Tensor]:
    """The memory of each block, uint8, as a tensor that shares it."""
    with torch.inference_mode(False):
        return [torch.from_numpy(ring[index].memory) for index in range(ring.num_blocks)]


def staging_for(ring: BlockRing, device: torch.device) -> Staging:
    """How blocks of a ring are filled from a device."""
    if device.type != "cuda":
        return HostStaging(ring)
    from holdstep.wrappers.record.gpu_staging import GpuStaging

    return GpuStaging(ring, device)
