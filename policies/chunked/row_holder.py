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

    A row that it suspended may be resumed behind its back (by a reset of all rows, or by the user),
    and even be suspended again for a reason of the user's. So it keeps the number of each
    suspension, and a row is its own only while that is the one that holds.

    Args:
        env: a stack, in which there may be a :class:`~holdstep.wrappers.SuspendOnWait`.
    """

    def __init__(self, env: TorchVectorEnv) -> None:
        self._suspend = find_wrapper(env, SuspendOnWait)
        self._held: dict[int, int] = {}  # rows, and the numbers of their suspensions
        self._num_envs = env.num_envs

    @property
    def can_hold(self) -> bool:
        """Whether rows can be held at all."""
        return self._suspend is not None

    def others(self) -> np.ndarray | None:
        """Rows that somebody else suspended, bool ``[N]``; None for none."""
        if self._suspend is None or not (rows := self._others(self._suspend)):
            return None
        mask = np.zeros(self._num_envs, dtype=bool)
        mask[list(rows)] = True
        return mask

    def resume_finished(self) -> None:
        """Resume somebody else's rows whose wait is done.

        Otherwise the step that follows would, with an action that nobody chose for them.
        """
        if self._suspend is not None and self._others(self._suspend):
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
        suspend = self._suspend
        if not rows and not self._held:  # as in most steps
            return
        if suspend is None:
            raise ConfigError(
                "Rows have to wait while others are stepped, for which the stack needs a "
                "SuspendOnWait: SuspendOnWait(env, rng='per_env')."
            )
        if rows == self._held.keys() and suspend.suspensions == self._held:
            return
        others = self._others(suspend)
        mine = suspend.suspensions.keys() - others
        # Parked rows that somebody else suspended stay that one's to resume.
        wanted = rows - others
        try:
            if resumed := mine - wanted:
                suspend.resume(sorted(resumed))
            if missing := wanted - mine:
                suspend.suspend(sorted(missing))
        finally:  # however far it came
            now = suspend.suspensions
            self._held = {row: now[row] for row in mine | wanted if row in now}

    def let_go(self) -> None:
        """Resume what was suspended here."""
        self.hold_exactly(set())

    def forget(self) -> None:
        """A reset has resumed all rows."""
        self._held = {}

    def _others(self, suspend: SuspendOnWait) -> set[int]:
        now = suspend.suspensions
        if now == self._held:  # as in nearly every step, and quicker than row by row
            return set()
        return {row for row, number in now.items() if self._held.get(row) != number}
