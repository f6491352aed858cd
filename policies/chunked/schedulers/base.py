"""What a scheduler is: who is asked for a chunk, and when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from holdstep.policies.chunked.handover import Handover

if TYPE_CHECKING:
    from holdstep.policies.chunked.ledger import RowsView

Determinism = Literal["exact", "delayed", "timing"]
"""What a row's actions depend on, given a policy that is reproducible.

``"exact"``: on the row's own observations and seeds alone, each chunk inferred from the observation
at which it begins. ``"delayed"``: likewise, but from an earlier observation of the row, by a number
of ticks that is fixed. ``"timing"``: on how long things took, too.
"""

_NOBODY = np.zeros(0, dtype=np.int64)
_WHEN_USED_UP = Handover()


class Scheduler(ABC):
    """Decides for which rows a policy is asked for chunks, at each moment.

    A :class:`~holdstep.policies.ChunkRunner` calls :meth:`select` before each step at which some
    row could be asked for, and again after each request, until nobody is selected. While no row can
    be stepped and nothing is being inferred, it must select somebody; the runner raises if it does
    not. A scheduler has state of one run: give each runner its own.

    Attributes:
        overlaps: inference runs beside the simulation, in a thread of its own.
        holds_rows: rows may have to wait while others are stepped, for which the stack needs a
            :class:`~holdstep.wrappers.SuspendOnWait`.
        infers_all: every live row is inferred whoever was selected; the others' chunks are thrown
            away.
    """

    determinism: Determinism = "exact"
    overlaps: bool = False
    holds_rows: ClassVar[bool] = True
    infers_all: ClassVar[bool] = False

    @property
    def handover(self) -> Handover:
        """How a row's chunks follow each other."""
        return _WHEN_USED_UP

    @property
    def max_lead(self) -> int:
        """The longest lead that any of its rules has [env steps]."""
        return self.handover.lead

    @property
    def max_skipped(self) -> int:
        """The most actions at the beginning of a chunk that any of its rules leaves out."""
        return self.handover.lead if self.handover.skip_elapsed else 0

    def check(self, *, execute: int, chunk_length: int, uses_prefix: bool) -> None:  # noqa: B027
        """Refuse what does not go together.

        Args:
            execute: actions of a chunk that are to be executed.
            chunk_length: actions of a chunk.
            uses_prefix: whether the policy continues the actions before its chunk.

        Raises:
            ConfigError: saying what does.
        """

    def start(self, *, num_envs: int, execute: int) -> None:  # noqa: B027
        """A run begins.

        Args:
            num_envs: number of rows, parked ones too.
            execute: actions of a chunk that are executed.
        """

    @abstractmethod
    def select(self, rows: RowsView) -> np.ndarray:
        """Rows to ask for now, int64 ``[k]``, all of ``rows.wanting_mask``; empty for nobody."""

    def saw_step(  # noqa: B027
        self, *, num_active: int, duration_s: float, waited_s: float, overlapped: bool
    ) -> None:
        """A step was made.

        Args:
            num_active: rows that advanced.
            duration_s: how long it took, holding rows included [s].
            waited_s: how long there was nothing to step before it [s].
            overlapped: something was being inferred meanwhile.
        """

    def saw_inference(self, *, batch: int, duration_s: float) -> None:  # noqa: B027
        """So many rows were inferred in so long [s]."""

    def saw_episodes_end(self, num_ended: int) -> None:  # noqa: B027
        """So many episodes ended in the step before."""

    def explain(self) -> str:
        """What it does and why, in a sentence."""
        return repr(self)


def nobody() -> np.ndarray:
    """No rows."""
    return _NOBODY


def rows_of(mask: np.ndarray) -> np.ndarray:
    """The rows of a mask, int64 ``[k]``."""
    return np.flatnonzero(mask)


def longest_waiting(mask: np.ndarray, rows: RowsView, limit: int) -> np.ndarray:
    """At most ``limit`` rows of a mask, those that have waited longest first; sorted by row."""
    candidates = np.flatnonzero(mask)
    if len(candidates) <= limit:
        return candidates
    order = np.argsort(-rows.waited_ticks[candidates], kind="stable")
    return np.sort(candidates[order[:limit]])
