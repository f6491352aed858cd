"""Rows that a wrapper lets stand still until the end of its step."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import ClosedEnvError

if TYPE_CHECKING:
    from holdstep.wrappers.suspend import SuspendOnWait


class StepHold:
    """Suspends rows, and resumes exactly those that it suspended.

    Rows that somebody else has suspended by then stay so until the release, even if what they wait
    for is done before; they go on waiting after it.

    Args:
        suspender: what suspends rows of the stack.
    """

    def __init__(self, suspender: SuspendOnWait) -> None:
        self._suspender = suspender
        self._held = np.zeros(suspender.num_envs, dtype=bool)
        self._holds_any = False
        self._waiting: frozenset[int] = frozenset()  # those of them that others have suspended

    def add(self, rows: np.ndarray) -> None:
        """Hold rows (bool ``[N]``); those that are held by this object already stay so."""
        new = rows & ~self._held
        if not new.any():
            return
        # First, so that they are released also if this is interrupted.
        self._holds_any = True
        self._held |= new
        ids = frozenset(np.flatnonzero(new).tolist())
        waiting = ids & self._suspender.suspended_ids
        self._waiting |= waiting
        self._suspender.postponed_ids.update(waiting)
        if waiting != ids:
            self._suspender.suspend(sorted(ids - waiting))

    def admit(self) -> None:
        """Let go of rows that somebody else has suspended, so that their waits are looked at."""
        self._held[list(self._waiting)] = False
        self._suspender.postponed_ids.difference_update(self._waiting)
        self._waiting = frozenset()

    def release(self) -> None:
        """Resume all rows that were suspended by this object, and let the others be resumed."""
        if not self._holds_any:
            return
        self.admit()
        # An error may have left some of them as they were, or the env closed.
        rows = sorted(
            self._suspender.suspended_ids.intersection(np.flatnonzero(self._held).tolist())
        )
        self._held[:] = False
        self._holds_any = False
        with contextlib.suppress(ClosedEnvError):
            self._suspender.resume(rows)
