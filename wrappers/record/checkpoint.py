"""What a writer remembers between blocks, kept where its successor finds it."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

_HEADER = struct.Struct("<qq")
NOTHING = -1


class Checkpoints:
    """The state after each of the last two blocks, in memory that outlives the writer.

    The journal says up to which block everything is committed. The state after that block is
    always here: it is written before the commit, and not over the one before.

    Args:
        fds: of checkpoints that another process made; None makes them.
    """

    def __init__(self, fds: tuple[int, int] | None = None) -> None:
        self.fds = fds or (
            os.memfd_create("holdstep-checkpoint-even"),
            os.memfd_create("holdstep-checkpoint-odd"),
        )
        if fds is None:
            for fd in self.fds:
                os.pwrite(fd, _HEADER.pack(NOTHING, 0), 0)

    def write(self, number: int, state: dict[str, Any]) -> None:
        """Keep the state after block ``number``."""
        content = json.dumps(state, separators=(",", ":")).encode()
        os.pwrite(self.fds[number % 2], _HEADER.pack(number, len(content)) + content, 0)

    def read(self, number: int) -> dict[str, Any]:
        """The state after block ``number``, the last that was committed or the one before.

        Raises:
            LookupError: it was not kept.
        """
        fd = self.fds[number % 2]
        kept, length = _HEADER.unpack(os.pread(fd, _HEADER.size, 0))
        if kept != number:
            raise LookupError(f"The state after block {number} was not kept, but that of {kept}.")
        content: dict[str, Any] = json.loads(os.pread(fd, length, _HEADER.size))
        return content

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in self.fds:
            os.close(fd)
        self.fds = (-1, -1)
