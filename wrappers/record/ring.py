"""Blocks of slots in memory that the env loop and the writer share."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from holdstep.wrappers.record.columns import WORD_BYTES, RowLayout

ACTIVE, TERMINATED, TRUNCATED, SUCCESS, REPORTED = range(5)
"""A slot's flags of the rows; ``REPORTED`` says whether ``SUCCESS`` is known."""
NUM_FLAGS = 5

_PAGE = mmap.PAGESIZE


class EntryKind(IntEnum):
    """What an entry of a block says; blocks are lists of entries.

    STEP: a slot with what a step took and gave: step columns, observations after it, flags. In a
    row that ended the observations are the first ones of its next episode. With it come the last
    observations of rows that ended in it, where they are known.
    FIRST: first observations of rows that were reset, without a slot. An episode that was under way
    is cut.
    GAP: a slot without values. What was not recorded since the last entry: which rows have taken a
    step in the episode that they are in now, and, in the other flags, how many episodes of each
    ended: the bytes of a little-endian int32.
    """

    STEP = 0
    FIRST = 1
    GAP = 2


@dataclass(frozen=True)
class BlockShape:
    """How a block's memory is used, from both ends.

    Slots, each with values of all rows, lie one after the other from the beginning. Observations of
    *some* rows, which come where episodes begin and end, lie one after the other from the end:
    their memory is that of the rows which are meant, usually few. Neither needs a bound of its own,
    and what is filled are two ranges of bytes.

    Attributes:
        num_slots: slots that fit into a block in which no episode begins or ends.
        num_envs: rows.
        num_words: width of the plane of words [int32].
        num_bytes: width of the plane of bytes.
        obs_words: how many of the words are observations.
        obs_bytes: how many of the bytes are observations.
    """

    num_slots: int
    num_envs: int
    num_words: int
    num_bytes: int
    obs_words: int
    obs_bytes: int

    @property
    def small_bytes(self) -> int:
        """Size of a slot's bytes and flags [byte]."""
        return self.num_envs * (self.num_bytes + NUM_FLAGS)

    @property
    def slot_bytes(self) -> int:
        """Size of a slot [byte]; no smaller than that of the observations of all rows."""
        return _aligned(self.num_envs * self.num_words * WORD_BYTES + self.small_bytes)

    def observed_bytes(self, num_rows: int) -> int:
        """Size of the observations of some rows, and of the rows' ids [byte]."""
        return _aligned(num_rows * ((1 + self.obs_words) * WORD_BYTES + self.obs_bytes))

    @property
    def end(self) -> int:
        """Where the memory that is filled from behind begins to be [byte]."""
        return self.num_slots * self.slot_bytes

    @property
    def block_bytes(self) -> int:
        """Size of a block, whole pages [byte]."""
        return -(-self.end // _PAGE) * _PAGE

    def filled(self, kinds: Sequence[int], num_observed: Sequence[int]) -> Filled:
        """What a block's entries take.

        Args:
            kinds: of the entries.
            num_observed: rows whose observations come with each of them.
        """
        num_slots = len(kinds) - kinds.count(EntryKind.FIRST)
        observed_bytes = sum(self.observed_bytes(num_rows) for num_rows in num_observed)
        return Filled(num_slots * self.slot_bytes, self.end - observed_bytes, self.end)


class Filled(NamedTuple):
    """The bytes of a block that mean something: up to ``slots_end``, and from ``begin`` to ``end``.

    Attributes:
        slots_end: behind the last slot.
        begin: of what was filled from behind.
        end: of that.
    """

    slots_end: int
    begin: int
    end: int

    @property
    def num_bytes(self) -> int:
        """How many they are."""
        return self.slots_end + self.end - self.begin

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Those of the two that are not empty."""
        both = (0, self.slots_end), (self.begin, self.end)
        return [(begin, end) for begin, end in both if begin < end]


class Observed(NamedTuple):
    """Observations of some rows, in a block.

    Attributes:
        words: int32 ``[k, 1 + obs_words]``; the first is the row's id, or -1 if it is not meant.
        bytes_: uint8 ``[k, obs_bytes]``.
    """

    words: npt.NDArray[np.int32]
    bytes_: npt.NDArray[np.uint8]

    @property
    def env_ids(self) -> list[int]:
        """The rows' ids."""
        ids: list[int] = self.words[:, 0].tolist()
        return ids


class Block:
    """Views of the memory of one block.

    A slot has first its words, row by row; then its bytes, column by column, each of all rows; then
    its flags, in the same way, so that bytes and flags are written at once.

    Args:
        memory: uint8 ``[shape.block_bytes]``.
        shape: of the block.

    Attributes:
        words: int32 ``[num_slots, num_envs, num_words]``.
        bytes_: uint8 ``[num_slots, num_envs * num_bytes]``.
        flags: uint8 ``[num_slots, 5, num_envs]``.
    """

    def __init__(self, memory: npt.NDArray[np.uint8], shape: BlockShape) -> None:
        k, n = shape.num_slots, shape.num_envs
        self.memory = memory
        self.shape = shape
        slots = memory[: shape.end].reshape(k, shape.slot_bytes)
        bytes_begin = n * shape.num_words * WORD_BYTES
        flags_begin = bytes_begin + n * shape.num_bytes
        self.words = slots[:, :bytes_begin].view(np.int32).reshape(k, n, shape.num_words)
        self.bytes_ = slots[:, bytes_begin:flags_begin]
        flags = slots[:, flags_begin : flags_begin + NUM_FLAGS * n]
        self.flags = flags.reshape(k, NUM_FLAGS, n)

    def observed(self, end: int, num_rows: int) -> Observed:
        """The observations of so many rows that end at a byte."""
        shape = self.shape
        part = self.memory[end - shape.observed_bytes(num_rows) : end]
        split = num_rows * (1 + shape.obs_words) * WORD_BYTES
        words, bytes_ = part[:split], part[split : split + num_rows * shape.obs_bytes]
        return Observed(
            words.view(np.int32).reshape(num_rows, 1 + shape.obs_words),
            bytes_.reshape(num_rows, shape.obs_bytes),
        )


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


def ring_for(layout: RowLayout, *, num_envs: int, max_queue_bytes: int) -> tuple[BlockShape, int]:
    """Blocks that fit into so many bytes.

    At least two, so that one can be filled while the other is written, of at least four slots: a
    step takes at most three, if all rows end in it and something is told that was lost before.
    Large enough that the writer is woken seldom, small enough that there are several.

    Args:
        layout: of a row.
        num_envs: rows.
        max_queue_bytes: the bound [byte]; exceeded only by what eight slots need.

    Returns:
        The shape of a block, and how many there are.

    >>> from holdstep.wrappers.record.columns import Column
    >>> layout = RowLayout([Column("obs/policy", "float32", (330,), "observation")])
    >>> shape, num_blocks = ring_for(layout, num_envs=256, max_queue_bytes=256 << 20)
    >>> shape.num_slots, num_blocks
    (32, 16)
    """

    def shape_of(num_slots: int) -> BlockShape:
        words, bytes_ = layout.observation_words, layout.observation_bytes
        return BlockShape(
            num_slots,
            num_envs,
            layout.num_words,
            layout.num_bytes,
            words.stop - words.start,
            bytes_.stop - bytes_.start,
        )

    slot_bytes = shape_of(1).slot_bytes
    shape = shape_of(max(_MIN_SLOTS, min(_MAX_SLOTS, max_queue_bytes // (4 * slot_bytes))))
    return shape, max(2, min(_MAX_BLOCKS, max_queue_bytes // shape.block_bytes))


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNMENT) * _ALIGNMENT


_MIN_SLOTS, _MAX_SLOTS, _MAX_BLOCKS = 4, 32, 16
_ALIGNMENT = 64  # a line of the processor's cache; words need 4
