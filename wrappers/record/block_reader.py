"""What the writer reads of a block: steps and observations of single rows, as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from holdstep.wrappers.record.ring import EntryKind

if TYPE_CHECKING:
    from holdstep.wrappers.record.columns import RowLayout
    from holdstep.wrappers.record.records import Bytes, Words
    from holdstep.wrappers.record.ring import Block, Observed

Packed = tuple["Words", "Bytes"]


class Entry(NamedTuple):
    """An entry of a block.

    Attributes:
        kind: see :class:`~holdstep.wrappers.record.ring.EntryKind`.
        slot: its slot; of a FIRST, which has none, the one after it.
        observed: the observations that came with it.
    """

    kind: int
    slot: int
    observed: Observed


class BlockReader:
    """Takes the rows out of a block.

    Args:
        block: of which nothing is copied before it is asked for.
        layout: of a row.
        kinds: of the block's entries.
        num_observed: rows whose observations come with each of them.

    Attributes:
        entries: in order.
        flags: of the slots that were filled, uint8 ``[slots, 5, N]``.
        is_step: which of them are steps, bool ``[slots]``.
    """

    def __init__(
        self, block: Block, layout: RowLayout, kinds: Sequence[int], num_observed: Sequence[int]
    ) -> None:
        self.entries: list[Entry] = []
        slot, end = 0, block.shape.end
        for kind, num_rows in zip(kinds, num_observed, strict=True):
            self.entries.append(Entry(kind, slot, block.observed(end, num_rows)))
            slot += kind != EntryKind.FIRST
            end -= block.shape.observed_bytes(num_rows)
        with_slots = [kind for kind in kinds if kind != EntryKind.FIRST]
        self.is_step = np.array(with_slots, dtype=np.int64) == EntryKind.STEP
        self.flags = block.flags[:slot]
        self._words = block.words
        self._bytes = [
            (place, _column(block, place.begin, place.end))
            for place in (layout.place(c.name) for c in layout if not c.in_words)
        ]
        self._num_bytes = layout.num_bytes
        self._obs_words, self._obs_bytes = layout.observation_words, layout.observation_bytes

    def steps(self, slots: slice | npt.NDArray[np.int64], row: int) -> Packed:
        """A row's values in some slots: int32 ``[T, num_words]``, uint8 ``[T, num_bytes]``."""
        words = self._words[slots, row]
        columns = [values[slots, row] for _, values in self._bytes]
        if len(columns) == 1:
            return words, columns[0]
        bytes_ = np.empty((len(words), self._num_bytes), dtype=np.uint8)
        for (place, _), column in zip(self._bytes, columns, strict=True):
            bytes_[:, place.begin : place.end] = column
        return words, bytes_

    def observation(self, slot: int, row: int) -> Packed:
        """What a row observed in a slot, packed as a row that is otherwise zero."""
        words, bytes_ = self.steps(slice(slot, slot + 1), row)
        return self._alone(words[0, self._obs_words], bytes_[0, self._obs_bytes])

    def observed_row(self, observed: Observed, index: int) -> Packed:
        """One of the observations that came with an entry, packed in the same way."""
        return self._alone(observed.words[index, 1:], observed.bytes_[index])

    def _alone(self, obs_words: Words, obs_bytes: Bytes) -> Packed:
        words = np.zeros(self._words.shape[-1], dtype=np.int32)
        bytes_ = np.zeros(self._num_bytes, dtype=np.uint8)
        words[self._obs_words] = obs_words
        bytes_[self._obs_bytes] = obs_bytes
        return words, bytes_


def _column(block: Block, begin: int, end: int) -> npt.NDArray[np.uint8]:
    """Some columns of bytes, which lie together: uint8 ``[slots, N, end - begin]``."""
    num_slots, num_envs = block.shape.num_slots, block.shape.num_envs
    column = block.bytes_[:, num_envs * begin : num_envs * end]
    return column.reshape(num_slots, num_envs, end - begin)
