"""Which episodes are to be recorded, and how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Partial = Literal["keep", "drop"]
SuccessWhen = Literal["end", "once"]


@dataclass(frozen=True)
class Quota:
    """What is to be recorded.

    Attributes:
        max_episodes: episodes in the dataset, after which nothing more is recorded; None for all.
        counts: which episodes count: ``"succeeded"`` and ``"failed"`` where only those are kept.
        partial: whether episodes are kept that a reset or the end of the recording cuts short.
        success_when: whether an episode's success is what was said in its last step (``"end"``), or
            whether it was ever said (``"once"``).
    """

    max_episodes: int | None = None
    counts: Literal["all", "succeeded", "failed"] = "all"
    partial: Partial = "keep"
    success_when: SuccessWhen = "end"

    def keeps(self, success: bool | None) -> bool:
        """Whether an episode of such a success counts; one of which nothing is known has failed."""
        return self.counts == "all" or (self.counts == "succeeded") == (success is True)
