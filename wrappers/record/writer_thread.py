"""A writer in a thread of the env loop's process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from holdstep.wrappers.record.messages import Message, QueueInbox
from holdstep.wrappers.record.writer import Shared, WriterLoop

if TYPE_CHECKING:
    from holdstep.wrappers.record.writer_config import WriterConfig


class WriterThread:
    """Writes beside the env loop, for where no process can be started.

    It shares the interpreter with the loop, which a busy writer slows down.

    Args:
        config: what to write, and where.
        shared: what is shared with the loop.

    Attributes:
        ended: whether the writer is not running any more.
        cause: the error that ended it, or None.
    """

    def __init__(self, config: WriterConfig, shared: Shared) -> None:
        self.ended = False
        self.cause: BaseException | None = None
        self._inbox = QueueInbox()
        self._loop = WriterLoop(config, shared, self._inbox)
        self._thread = threading.Thread(target=self._run, name="holdstep writer", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> None:
        """Add a message; never waits."""
        self._inbox.put(message)

    def pump(self) -> None:
        """Nothing is kept back."""

    def describe_end(self) -> str:
        """How it ended."""
        return "ended without an error" if self.cause is None else f"failed: {self.cause}"

    def abandon(self) -> None:
        """Have the writer end without finishing; what is in memory is lost."""
        self._inbox.put(Message("abandon"))

    def _run(self) -> None:
        try:
            self._loop.run()
        except BaseException as error:
            self.cause = error
        self.ended = True
