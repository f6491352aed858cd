"""Which actions of a new chunk are executed, and what becomes of those that are still left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Handover:
    """How a chunk follows the one before it.

    A chunk that was asked for when the row had actions left (``lead`` of them) is inferred from an
    observation that is older than its first executed action. What that means for the chunk's first
    actions is the question that the three modes of prefetching answer differently.

    Attributes:
        lead: a row is observed for its next chunk as soon as it has so many actions left.
        skip_elapsed: leave out the new chunk's actions for ticks that were executed from the old
            one; otherwise the new chunk is appended whole.
        on_arrival: the new chunk takes over as soon as it is there, unless the steps that it was
            valid for have all been made; otherwise once the old one is used up, which does not
            depend on how long inference took.
        with_prefix: tell the policy which actions will be executed meanwhile.
    """

    lead: int = 0
    skip_elapsed: bool = False
    on_arrival: bool = False
    with_prefix: bool = False

    def splice(
        self,
        *,
        lengths: np.ndarray,
        execute: int,
        left_when_observed: np.ndarray,
        left_now: np.ndarray,
    ) -> Splice:
        """What to put together from the rows' old and new chunks.

        Args:
            lengths: valid actions of the new chunks, int64 ``[B]``.
            execute: actions of one chunk that are to be executed.
            left_when_observed: actions that the rows had left at the observation, int64 ``[B]``.
            left_now: actions that they have left now, int64 ``[B]``.
        """
        keep, start, take = left_now, np.zeros_like(left_now), np.full_like(left_now, execute)
        if self.skip_elapsed and self.on_arrival:
            keep, start, take = np.zeros_like(left_now), left_when_observed - left_now, take + keep
        elif self.skip_elapsed:
            start = left_when_observed
        count = np.clip(lengths - start, 0, take)
        # What came too late to say anything takes the place of nothing.
        return Splice(keep=np.where(count > 0, keep, left_now), start=start, count=count)


@dataclass(frozen=True, kw_only=True)
class Splice:
    """A row's next actions: ``keep`` old ones, then ``count`` new ones from ``start`` on.

    Attributes:
        keep: int64 ``[B]``.
        start: int64 ``[B]``.
        count: int64 ``[B]``.
    """

    keep: np.ndarray
    start: np.ndarray
    count: np.ndarray
