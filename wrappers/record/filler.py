"""Fills one block after the other, and sends each on its way to the writer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdstep.errors import RecordingError
from holdstep.wrappers.record.messages import Event
from holdstep.wrappers.record.ring import EntryKind

if TYPE_CHECKING:
    from holdstep.wrappers.record.block_queue import BlockQueue
    from holdstep.wrappers.record.staging import BlockTensors, ObservedRows, Slot, Staging

_FIRST = EntryKind.FIRST  # a member is found through its class by a slow search


@dataclass(frozen=True)
class _Filled:
    """A block that is on its way from the device to the ring."""

    index: int
    kinds: list[int]
    num_observed: list[int]
    events: list[Event]
    oldest_s: float


class BlockFiller:
    """The env loop's place in the current block.

    A block is handed over when the next step finds it full, or older than ``max_age_s``; not
    before, so that what a user says after a step goes with the block of that step.

    Args:
        queue: lends blocks.
        staging: where they are filled.
        max_age_s: the longest time for which an entry stays in a block that is not full [s].
        clock: time [s].
    """

    def __init__(
        self,
        queue: BlockQueue,
        staging: Staging,
        *,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._staging = staging
        self._shape = queue.ring.shape
        self._slot_bytes = self._shape.slot_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._travelling: deque[_Filled] = deque()
        self._has_arrived = False  # the oldest of those that travel
        self._drops = False
        self._clear()

    def _clear(self) -> None:
        """There is no block."""
        self._index: int | None = None
        self._block: BlockTensors | None = None
        self._kinds: list[int] = []
        self._num_observed: list[int] = []
        self._events: list[Event] = []
        self._num_slots = 0
        self._end = 0  # of what is free between the slots and the observations
        self._free_bytes = 0
        self._observed_bytes = 0  # of the entry that is being filled
        self._oldest_s = 0.0
        self._due_s = float("inf")

    def reserve(self, num_parts: int, *, waits: bool = False) -> bool:
        """Make sure that so many slots, or observations of all rows, can be filled.

        Args:
            num_parts: at most four.
            waits: wait for a block where the queue would rather drop.

        Returns:
            False if what comes is to be dropped.

        Raises:
            RecordingError: the writer fails.
        """
        if self._travelling:
            self.deliver()
        if self._free_bytes >= num_parts * self._slot_bytes and self._clock() < self._due_s:
            return True
        self.send()
        if self._index is None:
            self._open(waits=waits)
        return self._index is not None

    def begin(self, kind: EntryKind, num_observed: int = 0) -> None:
        """Take room for an entry, to be filled and then :meth:`commit`-ted.

        Args:
            kind: of the entry; a slot goes with it, unless it is a FIRST.
            num_observed: how many rows' observations go with it.

        Raises:
            RecordingError: it is larger than what was reserved. The two ends of the block would
                write over each other, and nobody would know.
        """
        self._observed_bytes = self._shape.observed_bytes(num_observed) if num_observed else 0
        num_bytes = self._observed_bytes + (0 if kind is _FIRST else self._slot_bytes)
        if num_bytes > self._free_bytes:
            raise RecordingError(
                f"{num_bytes} bytes were to be recorded where {self._free_bytes} were reserved; "
                "the episodes that are under way are lost. The env must not be stepped from "
                "within its own step."
            )

    @property
    def slot(self) -> Slot:
        """The slot of the entry."""
        assert self._block is not None
        return self._block.slots[self._num_slots]

    def observed(self, num_rows: int) -> ObservedRows:
        """Memory for the observations that go with the entry."""
        assert self._block is not None
        return self._block.observed(self._end, num_rows)

    @property
    def observed_view(self) -> memoryview:
        """The same memory for Python, on the host."""
        assert self._block is not None
        return self._block.view[self._end - self._observed_bytes : self._end]

    def commit(self, kind: EntryKind, num_observed: int = 0) -> None:
        """The entry that was begun is complete."""
        if not self._kinds:
            self._oldest_s = self._clock()
            self._due_s = self._oldest_s + self._max_age_s
        self._kinds.append(kind)
        self._num_observed.append(num_observed)
        if kind is not _FIRST:
            self._num_slots += 1
            self._free_bytes -= self._slot_bytes
        if num_observed:
            self._end -= self._observed_bytes
            self._free_bytes -= self._observed_bytes

    def say(self, do: str, rows: list[int] | None = None, **values: Any) -> None:
        """Add an event between the last entry and the next one."""
        # What was dropped is told in the first entry of the next block, and happened before this.
        entry = 1 if self._drops else len(self._kinds)
        self._events.append(Event(entry, do, rows or [], values))

    @property
    def has_events(self) -> bool:
        """Whether something was said that is not sent."""
        return bool(self._events)

    def send(self) -> None:
        """Send the current block, if anything is in it."""
        if self._index is None or not (self._kinds or self._events):
            return
        self._staging.send(self._index, self._shape.filled(self._kinds, self._num_observed))
        oldest_s = self._oldest_s if self._kinds else self._clock()
        self._travelling.append(
            _Filled(self._index, self._kinds, self._num_observed, self._events, oldest_s)
        )
        self._clear()
        self.deliver()

    def deliver(self, *, waits: bool = False) -> None:
        """Hand over the blocks that have arrived in the ring; or all, when that is waited for."""
        while self._travelling:
            if not self._has_arrived and not self._staging.oldest_arrived(waits=waits):
                return
            self._has_arrived = True
            filled = self._travelling[0]
            self._queue.hand_over(
                filled.index,
                filled.kinds,
                filled.num_observed,
                filled.events,
                oldest_s=filled.oldest_s,
            )
            self._travelling.popleft()
            self._has_arrived = False

    def queued(self) -> tuple[int, float | None]:
        """What the writer was not given yet [byte], and when the oldest of it was filled."""
        num_bytes = self._shape.filled(self._kinds, self._num_observed).num_bytes
        for filled in self._travelling:
            num_bytes += self._shape.filled(filled.kinds, filled.num_observed).num_bytes
        oldest_s = self._oldest_s if self._kinds else None
        return num_bytes, self._travelling[0].oldest_s if self._travelling else oldest_s

    def close(self) -> None:
        """Wait for the device, and give its memory back."""
        self._staging.close()

    def _open(self, *, waits: bool) -> None:
        if self._travelling and not self._queue.has_free:
            self.deliver(waits=True)  # it may be these blocks that everybody waits for
        self._index = self._queue.acquire(waits=waits)
        self._drops = self._index is None
        if self._index is not None:
            self._block = self._staging.open(self._index)
            self._end = self._free_bytes = self._shape.end
