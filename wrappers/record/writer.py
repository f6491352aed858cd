"""The loop that turns blocks into committed episodes; the same in a process and in a thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.errors import RecordingError
from holdstep.wrappers.record.block_reader import BlockReader
from holdstep.wrappers.record.checkpoint import NOTHING, Checkpoints
from holdstep.wrappers.record.control import ControlPage
from holdstep.wrappers.record.files import Files
from holdstep.wrappers.record.ring import Block, BlockRing
from holdstep.wrappers.record.row_states import RowStates
from holdstep.wrappers.record.split_rows import RowSplitter

if TYPE_CHECKING:
    from holdstep.wrappers.record.messages import Inbox, Message
    from holdstep.wrappers.record.writer_config import WriterConfig

_COMPACT_S = 0.05  # of compaction between two looks into the inbox
_IDLE_S = 0.5
_RETRY_S = 5.0  # before a compaction that failed is tried again


@dataclass(frozen=True)
class Shared:
    """What the env loop and its writer share.

    Attributes:
        ring: the blocks.
        control: what the writer tells the loop.
        checkpoints: what the writer tells its successor.
        spill_fd: the file of spilled blocks, or -1.
    """

    ring: BlockRing
    control: ControlPage
    checkpoints: Checkpoints
    spill_fd: int = -1

    @property
    def fds(self) -> tuple[int, ...]:
        """Their file descriptors, for another process."""
        fds = (self.ring.fd, self.control.fd, *self.checkpoints.fds)
        return fds if self.spill_fd < 0 else (*fds, self.spill_fd)


class WriterLoop:
    """Takes blocks in order, commits each, and only then releases it.

    A block that a writer did not release is given to its successor, again and whole. Whether it was
    committed all the same is known from the journal (``store.position``), so that nothing is
    written twice; the journal cuts off what was written of it and not committed.

    Args:
        config: what to write, and where.
        shared: what is shared with the env loop.
        inbox: what to do.
        clock: time [s], for tests.
    """

    def __init__(
        self,
        config: WriterConfig,
        shared: Shared,
        inbox: Inbox,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._layout = config.layout
        self._shared = shared
        self._control = shared.control
        self._inbox = inbox
        self._clock = clock
        self._compact_after_s = 0.0
        self._has_more = True
        self._store: Any = None

    def run(self) -> None:
        """Until the recording is closed; what goes wrong is told to the env loop, and raised."""
        try:
            self._open()
            while self._do_next():
                pass
        except BaseException as error:
            self._control.error = f"{type(error).__name__}: {error}"
            if self._store is not None:
                self._store.abandon()  # for its successor; not committed is not written
            raise

    def _open(self) -> None:
        self._store = self._config.open_store(Files(self._beat))
        growth = self._store.growth
        if self._config.resumes:
            is_full = self._control.get("full") > 0
            growth.resume(self._control.get("bytes_before"), is_over=is_full)
        else:  # what an earlier run has committed is not of this one
            self._store.commit(position=NOTHING)
            self._control.set(
                num_before=self._store.num_episodes, bytes_before=growth.num_bytes_before
            )
        self._num_before = self._control.get("num_before")
        # A journal that all episodes were moved out of knows nothing any more.
        position = max(self._store.position, self._control.get("closed"))
        if position == NOTHING:
            rows = RowStates(self._config.shape.num_envs)
            rows.num_recorded = self._num_before
        else:
            rows = RowStates.from_json(self._shared.checkpoints.read(position))
        self._next = position + 1
        self._splitter = RowSplitter(self._store, self._config.quota, rows)
        self._publish(released=self._next, ready=1)

    def _do_next(self) -> bool:
        message = self._inbox.get(0.0 if self._compacts else _IDLE_S)
        if message is None:
            self._idle()
        elif message.do == "block":
            self._take(message)
        elif message.do == "flush":  # every block before it is committed
            self._publish(flushed=message.number)
        elif message.do == "close":
            self._close(message.number)
        else:
            self._store.close(compact=False)
        return message is None or message.do in ("block", "flush")

    def _take(self, message: Message) -> None:
        if message.number >= self._next:
            block = BlockReader(
                self._block(message), self._layout, message.kinds, message.num_observed
            )
            self._splitter.split(block, message.events)
            self._commit(message.number)
        self._publish(released=self._next)

    def _commit(self, number: int) -> None:
        self._shared.checkpoints.write(number, self._splitter.rows.to_json())
        self._store.commit(position=number)
        self._next = number + 1
        self._has_more = True

    def _block(self, message: Message) -> Block:
        if message.index >= 0:
            return self._shared.ring[message.index]
        shape = self._config.shape
        memory = np.zeros(shape.block_bytes, dtype=np.uint8)
        view, begin = memory.data, 0
        while begin < len(view):  # a read may end early
            num_bytes = os.preadv(self._shared.spill_fd, [view[begin:]], message.offset + begin)
            if num_bytes == 0:  # the end of the file, in the last page of its last block
                break
            begin += num_bytes
        return Block(memory, shape)

    @property
    def _compacts(self) -> bool:
        return self._has_more and self._clock() >= self._compact_after_s

    def _idle(self) -> None:
        if self._compacts:
            try:
                self._has_more = self._store.compact(budget_s=_COMPACT_S)
            except RecordingError:
                # The episodes are safe in the journal. If it does not get better, closing says so.
                self._compact_after_s = self._clock() + _RETRY_S
        self._publish()

    def _close(self, number: int) -> None:
        if number >= self._next:  # else a writer before this one did, and died afterwards
            self._splitter.close()
            self._commit(number)
            self._publish(closed=number)
        self._store.close()
        self._publish(complete=1)

    def _beat(self) -> None:
        self._control.set(heartbeat_ns=time.monotonic_ns())

    def _publish(self, **counters: int) -> None:
        rows, store = self._splitter.rows, self._store
        # Not what this writer counts by itself: it may be the second one.
        self._control.set(
            acknowledged=store.num_episodes - self._num_before,
            # Episodes that an earlier run left in the journal become durable first.
            durable=max(0, store.num_durable - self._num_before),
            num_steps=rows.num_appended,
            num_recorded=rows.num_recorded,
            dropped=rows.num_dropped,
            discarded=rows.num_discarded,
            cut=rows.num_cut,
            full=store.full,
            finished=self._splitter.finished,
            heartbeat_ns=time.monotonic_ns(),
            **counters,
        )
