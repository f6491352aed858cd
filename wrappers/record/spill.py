"""Blocks that wait on disk, because the writer is behind."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from holdstep.wrappers.record.files import recording_errors

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from holdstep.wrappers.record.ring import Block, BlockShape, Filled


class SpillFile:
    """A file of blocks, written by the env loop and read by the writer, in the same order.

    It has no name, so that nothing is left of it when both are gone; and it is emptied whenever the
    writer has caught up with all of it.

    Args:
        folder: of the recording, on whose disk it lies; made if it does not exist.
        shape: of the blocks.

    Attributes:
        fd: its descriptor, for the writer.

    Raises:
        RecordingError: it can't be made there.
    """

    def __init__(self, folder: Path, shape: BlockShape) -> None:
        with recording_errors(f"make a file for spilled steps in {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- closed by close()
        self.fd = self._file.fileno()
        self._block_bytes = shape.block_bytes
        self._end = 0

    def write(self, block: Block, filled: Filled) -> int:
        """Add what a block was filled with; returns where the block begins.

        Raises:
            OSError: the disk is full, and nothing was added.
        """
        offset = self._end
        for begin, end in filled.ranges:  # the hole between them takes no room on disk
            self._write_all(block.memory[begin:end], offset + begin)
        self._end = offset + self._block_bytes
        return offset

    def clear(self) -> None:
        """The writer needs none of it any more."""
        if self._end:
            self._end = 0
            os.ftruncate(self.fd, 0)

    def close(self) -> None:
        """The file is gone."""
        self._end = 0
        self._file.close()

    def _write_all(self, content: npt.NDArray[np.uint8], offset: int) -> None:
        view = content.data
        while len(view):
            written = os.pwrite(self.fd, view, offset)
            view, offset = view[written:], offset + written
