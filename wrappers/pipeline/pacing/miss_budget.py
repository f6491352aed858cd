"""How many misses pacing may still cause."""

from __future__ import annotations

_GAIN = 0.5
"""What a miss takes, in shares of the target: two in quick succession leave nothing to spare."""


class MissBudget:
    """A share of frames that may be missed; it shrinks with every miss and recovers between them.

    While it is empty, the user must let nothing be missed. Then no sequence of frames, however
    chosen, has more than ``target * n + 2 / _GAIN + 1`` misses in n frames: what misses take
    in total is no more than what the frames give and what was there (adaptive conformal inference;
    Gibbs and Candès, 2021). Misses that happen all the same, as late consequences of earlier ones,
    are paid for too. It never holds more than twice the target, so that a long time without misses
    does not excuse a burst of them, and never owes more.

    Args:
        target: the share.
    """

    def __init__(self, target: float) -> None:
        self._target = target
        self._allowed = target

    @property
    def allowed_share(self) -> float:
        """Of the latest frames, the share that may be missed as of now; at least 0."""
        return max(self._allowed, 0.0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing more may be missed."""
        return self._allowed < 0

    def frame(self, *, missed: bool) -> None:
        """A frame was made in time, or missed."""
        step = _GAIN * self._target * (self._target - missed)
        limit = 2 * self._target
        self._allowed = max(min(self._allowed + step, limit), -limit)
