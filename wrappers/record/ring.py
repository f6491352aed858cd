"""Blocks of slots in memory that the env loop and the writer share."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from holdstep.wrappers.record.columns import WORD_BYTES

ACTIVE, TERMINATED, TRUNCATED, SUCCESS, REPORTED = range(5)
"""A slot's flags of the rows; ``REPORTED`` says whether ``SUCCESS`` does."""
NUM_FLAGS = 5

_PAGE = mmap.PAGESIZE


class SlotKind(IntEnum):
    """What a slot holds; each has values of all rows, of which those count that are active in it.

    STEP: what a step took and gave: step columns, observations after it, flags. In a row that ended
    the observations are the first ones of its next episode.
    FIRST: first observations of rows that were reset. An episode that was under way is cut.
    FINAL: last observations of the rows that end in the next slot, which is a STEP.
    GAP: no values. What was not recorded since the last slot: which rows have taken a step in the
    episode that they are in now, and, in the other flags, how many episodes of each ended: the
    bytes of a little-endian int32.
    """

    STEP = 0
    FIRST = 1
    FINAL = 2
    GAP = 3


@dataclass(frozen=True)
class BlockShape:
    """How the slots of a block lie in memory.

    Attributes:
        num_slots: slots in a block.
        num_envs: rows.
        num_words: width of the plane of words [int32].
        num_bytes: width of the plane of bytes.
    """

    num_slots: int
    num_envs: int
    num_words: int
    num_bytes: int

    @property
    def slot_bytes(self) -> int:
        """Size of a slot [byte]."""
        return self.num_envs * self.num_words * WORD_BYTES + self.small_bytes

    @property
    def small_bytes(self) -> int:
        """Size of a slot's bytes and flags [byte]."""
        return self.num_envs * (self.num_bytes + NUM_FLAGS)

    @property
    def words_bytes(self) -> int:
        """Size of the words of all slots, which come first [byte]."""
        return self.num_slots * self.num_envs * self.num_words * WORD_BYTES

    @property
    def block_bytes(self) -> int:
        """Size of a block, whole pages [byte]."""
        return -(-self.num_slots * self.slot_bytes // _PAGE) * _PAGE


class Block:
    """Views of the memory of one block.

    Args:
        memory: uint8 ``[shape.block_bytes]``.
        shape: of the block.

    Attributes:
        words: int32 ``[num_slots, num_envs, num_words]``.
        small: what is smaller than a word: uint8 ``[num_slots, num_envs * (num_bytes + 5)]``.
        bytes_: the first part of it: uint8 ``[num_slots, num_envs, num_bytes]``.
        flags: the rest of it: uint8 ``[num_slots, 5, num_envs]``. They lie apart from the rows'
            bytes, so that they are written at once.
    """

    def __init__(self, memory: npt.NDArray[np.uint8], shape: BlockShape) -> None:
        k, n = shape.num_slots, shape.num_envs
        split = shape.words_bytes
        self.memory = memory
        self.words = memory[:split].view(np.int32).reshape(k, n, shape.num_words)
        self.small = memory[split : split + k * shape.small_bytes].reshape(k, shape.small_bytes)
        self.bytes_ = self.small[:, : n * shape.num_bytes].reshape(k, n, shape.num_bytes)
        self.flags = self.small[:, n * shape.num_bytes :].reshape(k, NUM_FLAGS, n)


class BlockRing:
    """Memory for a few blocks, which a process that gets its file descriptor maps too.

    Who may touch a block: from :meth:`BlockQueue.acquire` to the hand-over the env loop (on a GPU:
    the copy that the loop has started), from then until it is released the writer. Nobody
    else ever writes to it, so that neither side needs a lock.

    The memory is an anonymous file: it is gone with the last process that has it, is not limited by
    the size of ``/dev/shm`` (64 MB in containers), and survives a writer that is killed.

    Args:
        shape: of each block.
        num_blocks: how many there are.
        fd: of a ring that another process made; None makes one, with its pages in memory, so that
            no step waits for the kernel to find some.
    """

    def __init__(self, shape: BlockShape, num_blocks: int, fd: int | None = None) -> None:
        num_bytes = shape.block_bytes * num_blocks
        self.shape = shape
        self.num_blocks = num_blocks
        if fd is None:
            self.fd = os.memfd_create("holdstep-recording")
            os.ftruncate(self.fd, num_bytes)
        else:
            self.fd = fd
        self.memory = np.frombuffer(mmap.mmap(self.fd, num_bytes), dtype=np.uint8)
        if fd is None:
            self.memory[:] = 0
        self._blocks = [
            Block(memory, shape) for memory in self.memory.reshape(num_blocks, shape.block_bytes)
        ]

    def __getitem__(self, index: int) -> Block:
        return self._blocks[index]

    def close(self) -> None:
        """Give the descriptor back; the memory goes when nobody looks at it any more."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def ring_for(
    *, num_envs: int, num_words: int, num_bytes: int, max_queue_bytes: int
) -> tuple[BlockShape, int]:
    """Blocks that fit into so many bytes.

    At least two, so that one can be filled while the other is written, of at least four slots;
    large enough that the writer is woken seldom, small enough that there are several.

    Args:
        num_envs: rows.
        num_words: width of a row's words.
        num_bytes: width of a row's bytes.
        max_queue_bytes: the bound [byte]; exceeded only by what eight slots need.

    Returns:
        The shape of a block, and how many there are.

    >>> shape, num_blocks = ring_for(
    ...     num_envs=256, num_words=330, num_bytes=2, max_queue_bytes=256 << 20
    ... )
    >>> shape.num_slots, num_blocks
    (32, 16)
    """
    slot = BlockShape(1, num_envs, num_words, num_bytes).slot_bytes
    num_slots = max(_MIN_SLOTS, min(_MAX_SLOTS, max_queue_bytes // (4 * slot)))
    shape = BlockShape(num_slots, num_envs, num_words, num_bytes)
    return shape, max(2, min(_MAX_BLOCKS, max_queue_bytes // shape.block_bytes))


_MIN_SLOTS, _MAX_SLOTS, _MAX_BLOCKS = 4, 32, 16
