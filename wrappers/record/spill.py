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

    from holdstep.wrappers.record.ring import Block, BlockShape


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
        self._shape = shape
        self._end = 0

    def write(self, block: Block, num_slots: int) -> int:
        """Add the first slots of a block; returns where it begins.

        Raises:
            OSError: the disk is full, and nothing was added.
        """
        shape, offset = self._shape, self._end
        words_end = num_slots * shape.num_envs * shape.num_words * 4
        bytes_begin = shape.words_bytes
        bytes_end = bytes_begin + num_slots * shape.small_bytes
        # Between the two there is a hole, which takes no room on disk.
        self._write_all(block.memory[:words_end], offset)
        self._write_all(block.memory[bytes_begin:bytes_end], offset + bytes_begin)
        self._end = offset + shape.block_bytes
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
