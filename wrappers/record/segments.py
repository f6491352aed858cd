"""The files of a journal: one that grows, and older ones that are kept while they are needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdstep.wrappers.record.records import Header, RecordType, framed, with_json
from holdstep.wrappers.record.scan import segment_name

if TYPE_CHECKING:
    from holdstep.wrappers.record.files import Buffer, Files
    from holdstep.wrappers.record.index import Address


class Segments:
    """Makes, grows, syncs and deletes the files of a journal.

    Args:
        folder: that they lie in.
        sizes: of those that exist [byte].
        sync: whether a segment must be durable before the next one is begun.
        files: what changes the disk.

    Attributes:
        sizes: of all of them [byte], by number.
        newest: number of the one that grows; -1 before the first.
    """

    def __init__(self, folder: Path, sizes: Mapping[int, int], *, sync: bool, files: Files) -> None:
        self.sizes = dict(sizes)
        self.newest = -1
        self._folder = folder
        self._files = files
        self._sync = sync
        self._descriptor = -1

    @property
    def end(self) -> Address:
        """Where the next record will lie."""
        return self.newest, self.sizes[self.newest]

    def begin(self, number: int, content: Mapping[str, Any]) -> None:
        """Make the next segment.

        Its header is durable before anything else is written: what it says about older segments
        must never be lost while a later commit, in the same segment, survives.

        Args:
            number: of the segment; greater than any before.
            content: of its header.

        Raises:
            OSError: it failed.
        """
        if self._descriptor >= 0:
            if self._sync:
                self._files.sync(self._descriptor)
            self.close()
        parts = with_json(
            {**content, "number": number, "previous_bytes": self.sizes.get(number - 1, 0)}
        )
        header = Header(RecordType.SEGMENT, 0, 0, 0, sum(map(len, parts)))
        self._descriptor = self._files.create(self._folder / segment_name(number))
        self._files.write(self._descriptor, framed(header, parts))
        self._files.sync(self._descriptor)
        self._files.sync_folder(self._folder)
        self.newest = number
        self.sizes[number] = header.num_bytes

    def write(self, buffers: Sequence[Buffer], num_bytes: int) -> Address:
        """Write a record of so many bytes at the end.

        Returns:
            Where it lies.

        Raises:
            OSError: it failed; some of it may have been written.
        """
        address = self.end
        self._files.write(self._descriptor, buffers)
        self.sizes[self.newest] += num_bytes
        return address

    def sync(self) -> None:
        """Make the newest one durable.

        Raises:
            OSError: it failed.
        """
        self._files.sync(self._descriptor)

    def sync_older(self) -> None:
        """Make all but the newest one durable, which an earlier writer may not have done.

        Raises:
            OSError: it failed.
        """
        for number in self.sizes:
            if number != self.newest:
                self._files.sync_file(self._folder / segment_name(number))

    def check_presence(self, oldest: int) -> None:
        """Make sure that nobody deleted a segment.

        Args:
            oldest: the first one that is looked for.

        Raises:
            FileNotFoundError: one is gone.
        """
        for number in range(oldest, self.newest):
            os.stat(self._folder / segment_name(number))
        if os.fstat(self._descriptor).st_nlink == 0:
            path = self._folder / segment_name(self.newest)
            raise FileNotFoundError(2, os.strerror(2), str(path))

    def delete_before(self, oldest: int) -> None:
        """Delete the segments up to a number, and durably so.

        Raises:
            OSError: it failed.
        """
        doomed = sorted(number for number in self.sizes if number < oldest)
        for number in doomed:
            if number == self.newest:
                # It says that the others are not needed. They must not come back without it.
                self._files.sync_folder(self._folder)
                self.close()
            self._files.unlink(self._folder / segment_name(number))
            del self.sizes[number]
        if doomed:
            self._files.sync_folder(self._folder)

    def close(self) -> None:
        """Close the newest one."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._files.close(descriptor)
