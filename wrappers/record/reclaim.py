"""Giving back the space of a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.wrappers.record.journal import Journal

_SPARE_SEGMENTS = 2


def reclaim(journal: Journal) -> None:
    """Delete what is not needed, so that a journal is not much larger than what is needed of it.

    Segments are deleted oldest first. A row whose episode goes on for long has records in every one
    of them. So once less than half of the journal is needed, what is needed of the oldest segment
    is written again at the end, as log-structured file systems do (Rosenblum and Ousterhout, 1992).
    One segment a call; for each byte that is recorded, about one is rewritten at most.

    Args:
        journal: with everything in it committed.

    Raises:
        RecordingError: it failed.
    """
    if journal.num_segments == 1:
        return
    journal.give_back()
    needed = journal.index.num_bytes
    spare = max(needed, _SPARE_SEGMENTS * journal.segment_bytes)
    if journal.num_segments > 1 and journal.num_bytes - needed > spare:
        journal.copy_forward(journal.oldest_segment)
        journal.commit(journal.position)
        journal.give_back()
