"""Fills one block after the other with slots, and sends each on its way to the writer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdstep.wrappers.record.messages import Event

if TYPE_CHECKING:
    from holdstep.wrappers.record.block_queue import BlockQueue
    from holdstep.wrappers.record.ring import SlotKind
    from holdstep.wrappers.record.staging import Slot, Staging


@dataclass(frozen=True)
class _Filled:
    """A block that is on its way from the device to the ring."""

    index: int
    kinds: list[int]
    events: list[Event]
    oldest_s: float


class BlockFiller:
    """The env loop's place in the current block.

    A block is handed over when the next step finds it full, or older than ``max_age_s``; not
    before, so that what a user says after a step goes with the block of that step.

    Args:
        queue: lends blocks.
        staging: where their slots are filled.
        max_age_s: the longest time for which a slot stays in a block that is not full [s].
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
        self._num_slots = queue.ring.shape.num_slots
        self._max_age_s = max_age_s
        self._clock = clock
        self._travelling: deque[_Filled] = deque()
        self._index: int | None = None
        self._slots: Sequence[Slot] = ()
        self._kinds: list[int] = []
        self._events: list[Event] = []
        self._oldest_s = 0.0
        self._due_s = float("inf")
        self._has_arrived = False  # the oldest of those that travel
        self._drops = False

    def reserve(self, num_slots: int, *, waits: bool = False) -> bool:
        """Make sure that so many slots can be filled.

        Args:
            num_slots: at most four.
            waits: wait for a block where the queue would rather drop.

        Returns:
            False if what comes is to be dropped.

        Raises:
            RecordingError: the writer fails.
        """
        if self._travelling:
            self.deliver()
        fits = self._index is not None and len(self._kinds) + num_slots <= self._num_slots
        if fits and self._clock() < self._due_s:
            return True
        self.send()
        if self._index is None:
            self._open(waits=waits)
        return self._index is not None

    @property
    def slot(self) -> Slot:
        """The next slot, to be filled and then :meth:`commit`-ted."""
        return self._slots[len(self._kinds)]

    def commit(self, kind: SlotKind) -> None:
        """The slot is filled."""
        if not self._kinds:
            self._oldest_s = self._clock()
            self._due_s = self._oldest_s + self._max_age_s
        self._kinds.append(kind)

    def say(self, do: str, rows: list[int] | None = None, **values: Any) -> None:
        """Add an event between the last slot and the next one."""
        # What was dropped is told in the first slot of the next block, and happened before this.
        slot = 1 if self._drops else len(self._kinds)
        self._events.append(Event(slot, do, rows or [], values))

    @property
    def has_events(self) -> bool:
        """Whether something was said that is not sent."""
        return bool(self._events)

    def send(self) -> None:
        """Send the current block, if anything is in it."""
        if self._index is None or not (self._kinds or self._events):
            return
        self._staging.send(self._index, len(self._kinds))
        oldest_s = self._oldest_s if self._kinds else self._clock()
        self._travelling.append(_Filled(self._index, self._kinds, self._events, oldest_s))
        self._index, self._slots, self._kinds, self._events = None, (), [], []
        self._due_s = float("inf")
        self.deliver()

    def deliver(self, *, waits: bool = False) -> None:
        """Hand over the blocks that have arrived in the ring; or all, when that is waited for."""
        while self._travelling:
            if not self._has_arrived and not self._staging.oldest_arrived(waits=waits):
                return
            self._has_arrived = True
            filled = self._travelling[0]
            self._queue.hand_over(
                filled.index, filled.kinds, filled.events, oldest_s=filled.oldest_s
            )
            self._travelling.popleft()
            self._has_arrived = False

    def queued(self) -> tuple[int, float | None]:
        """Slots that the writer was not given yet, and when the oldest of them was filled."""
        num_slots = len(self._kinds) + sum(len(filled.kinds) for filled in self._travelling)
        oldest_s = self._oldest_s if self._kinds else None
        return num_slots, self._travelling[0].oldest_s if self._travelling else oldest_s

    def close(self) -> None:
        """Wait for the device, and give its memory back."""
        self._staging.close()

    def _open(self, *, waits: bool) -> None:
        if self._travelling and not self._queue.has_free:
            self.deliver(waits=True)  # it may be these blocks that everybody waits for
        self._index = self._queue.acquire(waits=waits)
        self._drops = self._index is None
        if self._index is not None:
            self._slots = self._staging.open(self._index)
