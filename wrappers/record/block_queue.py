"""Who has which block: the env loop, the writer, or nobody; and what if all are taken."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from holdstep.wrappers.record.checkpoint import Checkpoints
from holdstep.wrappers.record.control import ControlPage
from holdstep.wrappers.record.folder import RecordingFolder
from holdstep.wrappers.record.messages import Event, Message
from holdstep.wrappers.record.ring import BlockRing
from holdstep.wrappers.record.spill import SpillFile
from holdstep.wrappers.record.writer import Shared
from holdstep.wrappers.record.writer_link import WriterLink

if TYPE_CHECKING:
    from holdstep.wrappers.record.control import Counters
    from holdstep.wrappers.record.writer_config import WriterConfig
    from holdstep.wrappers.record.writer_link import StartWriter

OnFull = Literal["block", "spill", "drop"]


@dataclass(frozen=True)
class Queued:
    """What the writer was given and has not committed.

    Attributes:
        num_bytes: all of it [byte].
        spilled_bytes: what of it lies in the spill file [byte].
        oldest_s: when the oldest of it was made, or None if there is nothing.
    """

    num_bytes: int
    spilled_bytes: int
    oldest_s: float | None


class BlockQueue:
    """Lends blocks of a ring to the env loop, and hands them over to a writer in order.

    A block belongs to the loop from :meth:`acquire` to :meth:`hand_over`, and to the writer until
    it releases it, which it does when everything in it is committed. Until then it stays as it is,
    so that a writer which dies leaves all that its successor needs.

    When the writer is behind and every block is taken, ``"block"`` waits, ``"drop"`` lends none,
    and ``"spill"`` writes blocks that are handed over to a file, where the writer finds them when
    it is their turn; such a block is free at once.

    Args:
        config: what the writer is told.
        start: starts a writer.
        on_full: what to do when every block is taken.
        timeout_s: the longest time for which a writer that is waited for may show no sign of life.
        clock: time [s].
        sleep: waits [s].

    Attributes:
        ring: the blocks.
        blocked_s: how long :meth:`acquire` has waited [s].

    Raises:
        RecordingError: the writer could not open the dataset, or the spill file can't be made.
    """

    def __init__(
        self,
        config: WriterConfig,
        start: StartWriter,
        *,
        on_full: OnFull = "block",
        timeout_s: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._shape = config.shape
        self._on_full = on_full
        self._clock = clock
        # The last one that was released comes first: it may still be in the processor's cache.
        self._free = list(range(config.num_blocks))
        self._sent_at_s: deque[float] = deque()  # of the oldest slot, for each message under way
        self._sent: deque[Message] = deque()
        self._next = 0  # number of the next block
        self._num_flushes = 0
        self.blocked_s = 0.0
        self._spill = (
            SpillFile(RecordingFolder.of(config.path).path, config.shape)
            if on_full == "spill"
            else None
        )
        self.ring = BlockRing(config.shape, config.num_blocks)
        self._control = ControlPage()
        self._checkpoints = Checkpoints()
        spill_fd = -1 if self._spill is None else self._spill.fd
        shared = Shared(self.ring, self._control, self._checkpoints, spill_fd)
        try:
            self._link = WriterLink(
                config, shared, start, timeout_s=timeout_s, clock=clock, sleep=sleep
            )
        except BaseException:
            self._release()
            raise
        # Bound once: they are called in every step.
        self.check, self.is_finished = self._link.check, self._control.is_finished

    @property
    def counters(self) -> Counters:
        """What the writer has done so far."""
        return self._control.read()

    @property
    def has_free(self) -> bool:
        """Whether a block can be lent at once."""
        return self._collect()

    @property
    def num_restarts(self) -> int:
        """How often a writer was replaced."""
        return self._link.num_restarts

    @property
    def queued(self) -> Queued:
        """What is under way."""
        self._collect()
        sizes = [self._shape.filled(sent.kinds, sent.num_observed).num_bytes for sent in self._sent]
        in_file = (size for sent, size in zip(self._sent, sizes, strict=True) if sent.index < 0)
        return Queued(
            num_bytes=sum(sizes),
            spilled_bytes=sum(in_file),
            oldest_s=self._sent_at_s[0] if self._sent_at_s else None,
        )

    def acquire(self, *, waits: bool = False) -> int | None:
        """Lend a block to the loop, or None: then drop what comes.

        Args:
            waits: wait for one, whatever is to be done when there is none.

        Raises:
            RecordingError: the writer that it waits for fails, or shows no sign of life.
        """
        if not self._collect():
            if self._on_full == "drop" and not waits:
                return None
            self._wait_for_block()
        return self._free.pop()

    def hand_over(
        self,
        index: int,
        kinds: Sequence[int],
        num_observed: Sequence[int],
        events: Sequence[Event],
        *,
        oldest_s: float,
    ) -> None:
        """Give a block to the writer; its contents are complete.

        Args:
            index: of the block.
            kinds: of its entries.
            num_observed: rows whose observations come with each of them.
            events: what was said between them.
            oldest_s: when the first of them was made.

        Raises:
            RecordingError: there was no room to spill it, and the writer that it waits for instead
                fails, or shows no sign of life; the block is still the loop's.
        """
        offset, place = 0, index
        if self._spill is not None and not self._collect():
            try:
                filled = self._shape.filled(kinds, num_observed)
                offset, place = self._spill.write(self.ring[index], filled), -1
                self._free.append(index)
            except OSError:  # a full disk, say: then as if nothing was to be spilled
                self._wait_for_block()
        message = Message(
            "block", self._next, place, offset, list(kinds), list(num_observed), list(events)
        )
        self._next += 1
        self._sent.append(message)
        self._sent_at_s.append(oldest_s)
        self._link.send(message)

    def flush(self) -> None:
        """Wait until everything that was handed over is committed.

        Raises:
            RecordingError: the writer fails, or shows no sign of life.
        """
        self._num_flushes += 1
        self._link.flush(self._num_flushes)

    def begin_close(self) -> None:
        """Nobody will go on after an error: get as much done as can be."""
        self._link.begin_close()

    def close(self) -> None:
        """Wait until the writer has finished, and give everything back. Called once.

        Raises:
            RecordingError: it fails; what was not acknowledged is lost.
        """
        try:
            self._link.close(self._next)
        finally:
            self._link.abandon()
            self._release()

    def _wait_for_block(self) -> None:
        begin_s = self._clock()
        try:
            self._link.wait_until(self._collect)
        finally:
            self.blocked_s += self._clock() - begin_s

    def _collect(self) -> bool:
        """Take back what the writer has released; says whether a block is free."""
        for message in self._link.take_done():
            self._sent.popleft()
            self._sent_at_s.popleft()
            if message.index >= 0:
                self._free.append(message.index)
        if self._spill is not None and all(sent.index >= 0 for sent in self._sent):
            self._spill.clear()
        return bool(self._free)

    def _release(self) -> None:
        self.ring.close()
        self._control.close()
        self._checkpoints.close()
        if self._spill is not None:
            self._spill.close()
