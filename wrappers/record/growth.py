"""How much a recording has grown, against how much it may."""

from __future__ import annotations

from typing import Protocol


class Sized(Protocol):
    """Something that grows.

    Attributes:
        num_bytes: its size now [byte].
    """

    @property
    def num_bytes(self) -> int: ...  # noqa: D102


class Growth:
    """Whether a recording has grown by as much as it may.

    Once it has, that does not change any more when a shard turns out smaller than its part of the
    journal.

    Args:
        recording: what grows.
        max_bytes: by how much it may [byte]; None for no bound.

    Attributes:
        max_bytes: the same.
        num_bytes_before: what the recording had when this began [byte].
    """

    def __init__(self, recording: Sized, max_bytes: int | None) -> None:
        self._recording = recording
        self.max_bytes = max_bytes
        self.num_bytes_before = recording.num_bytes
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether no episode may begin."""
        if self.max_bytes is not None and not self._is_over:
            grown = self._recording.num_bytes - self.num_bytes_before
            self._is_over = grown >= self.max_bytes
        return self._is_over

    def resume(self, num_bytes_before: int, *, is_over: bool) -> None:
        """Go on with what an earlier writer has counted, instead of beginning anew."""
        self.num_bytes_before = num_bytes_before
        self._is_over = is_over
