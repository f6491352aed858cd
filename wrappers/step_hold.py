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

    Args:
        suspender: what suspends rows of the stack.
    """

    def __init__(self, suspender: SuspendOnWait) -> None:
        self._suspender = suspender
        self._held = np.zeros(suspender.num_envs, dtype=bool)

    def add(self, rows: np.ndarray) -> None:
        """Suspend rows (bool ``[N]``) that are not held by this object yet."""
        new = rows & ~self._held
        if new.any():
            # First, so that they are released also if this is interrupted.
            self._held |= new
            self._suspender.suspend(new)

    def release(self) -> None:
        """Resume all rows that are held."""
        if not self._held.any():
            return
        # An error may have left some of them as they were, or the env closed.
        rows = sorted(self._suspender.suspended_ids.intersection(np.flatnonzero(self._held)))
        self._held[:] = False
        with contextlib.suppress(ClosedEnvError):
            self._suspender.resume(rows)
