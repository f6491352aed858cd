"""How a recording is doing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RecordingStats:
    """Counts and times of a recording, as far as its writer has told.

    The writer is behind by what is queued; after ``flush()`` and ``close()``, it is not.

    Attributes:
        acknowledged: episodes of this run that nothing short of what the durability level allows
            can take away any more.
        durable: episodes of this run that are on disk, whatever the level.
        num_episodes: episodes in the dataset that count towards ``max_episodes``, those of earlier
            runs included.
        num_steps: env steps of single rows that were recorded.
        num_bytes: their size [byte].
        dropped: episodes that were lost whole because the queue was full (``on_full="drop"``).
        discarded: episodes that were discarded on purpose.
        cut: episodes that a reset or the end of the recording cut short.
        queued_bytes: steps that the writer has not committed, in memory and spilled [byte].
        spilled_bytes: those of them that are in the spill file [byte].
        lag_s: age of the oldest of them [s].
        blocked_s: how long steps have waited for the writer, in total [s].
        num_writer_restarts: how often a writer that had died was replaced.
        finished: whether nothing more will be recorded.
    """

    acknowledged: int = 0
    durable: int = 0
    num_episodes: int = 0
    num_steps: int = 0
    num_bytes: int = 0
    dropped: int = 0
    discarded: int = 0
    cut: int = 0
    queued_bytes: int = 0
    spilled_bytes: int = 0
    lag_s: float = 0.0
    blocked_s: float = 0.0
    num_writer_restarts: int = 0
    finished: bool = False
