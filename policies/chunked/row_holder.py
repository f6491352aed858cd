"""Holds the rows that have nothing to execute, beside those that somebody else holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import ConfigError
from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.suspend import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv


class RowHolder:
    """Suspends exactly the rows that it is told, and leaves alone what others suspended.

    Args:
        env: a stack, in which there may be a :class:`~holdstep.wrappers.SuspendOnWait`.
    """

    def __init__(self, env: TorchVectorEnv) -> None:
        self._suspend = find_wrapper(env, SuspendOnWait)
        self._held: set[int] = set()
        self._num_envs = env.num_envs

    @property
    def can_hold(self) -> bool:
        """Whether rows can be held at all."""
        return self._suspend is not None

    def others(self) -> np.ndarray | None:
        """Rows that somebody else suspended, bool ``[N]``; None for none."""
        if self._suspend is None:
            return None
        rows = self._suspend.suspended_ids - self._held
        if not rows:
            return None
        mask = np.zeros(self._num_envs, dtype=bool)
        mask[list(rows)] = True
        return mask

    def resume_finished(self) -> None:
        """Resume somebody else's rows whose wait is done.

        Otherwise the step that follows would, with an action that nobody chose for them.
        """
        if self._suspend is not None and self._suspend.suspended_ids - self._held:
            self._suspend.resume_finished()

    def wait_for_others(self) -> None:
        """Wait until what somebody else's rows wait for is done."""
        if self._suspend is not None:
            self._suspend.resume_finished(timeout_s=self._suspend.wait_timeout_s)

    def hold_exactly(self, rows: set[int]) -> None:
        """Suspend these rows, and resume all others that were suspended here.

        Raises:
            ConfigError: nothing in the stack can suspend rows.
        """
        if self._suspend is None:
            if rows:
                raise ConfigError(
                    "Rows have to wait while others are stepped, for which the stack needs a "
                    "SuspendOnWait: SuspendOnWait(env, rng='per_env')."
                )
            return
        suspended = self._suspend.suspended_ids
        # What was resumed behind our back (by a reset of all rows, or by the user) is not held.
        held = self._held & suspended
        # Parked rows that somebody else suspended stay that one's to resume.
        self._held = rows - (suspended - held)
        if resumed := held - self._held:
            self._suspend.resume(sorted(resumed))
        if missing := self._held - held:
            self._suspend.suspend(sorted(missing))

    def let_go(self) -> None:
        """Resume what was suspended here."""
        if self._suspend is not None and (held := self._held & self._suspend.suspended_ids):
            self._suspend.resume(sorted(held))
        self._held = set()

    def forget(self) -> None:
        """A reset has resumed all rows."""
        self._held = set()
