"""Which rows take part, and which of those are held for now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdstep.errors import ConfigError, SuspensionError
from holdstep.policies.chunked.row_holder import RowHolder

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.policies.chunked.schedulers.base import Scheduler


class LiveRows:
    """Keeps apart the rows that are parked, those that somebody else suspended, and the live ones.

    Args:
        env: whose rows they are.
        scheduler: who may let them wait.

    Raises:
        ConfigError: it does, and nothing in the stack can suspend rows.
    """

    def __init__(self, env: TorchVectorEnv, scheduler: Scheduler) -> None:
        self._holder = RowHolder(env)
        if scheduler.holds_rows and not self._holder.can_hold:
            raise ConfigError(
                f"{type(scheduler).__name__} lets rows wait while others are stepped, for which "
                "the stack needs a SuspendOnWait: SuspendOnWait(env, rng='per_env')."
            )
        self.parked_mask = np.zeros(env.num_envs, dtype=bool)

    @property
    def mask(self) -> np.ndarray:
        """Rows that are neither parked nor suspended by somebody else, bool ``[N]``; a copy."""
        others = self._holder.others()
        return ~self.parked_mask if others is None else ~(self.parked_mask | others)

    def start(self) -> None:
        """A reset has resumed all rows; nobody is parked."""
        self._holder.forget()
        self.parked_mask[:] = False

    def park(self, rows: np.ndarray) -> None:
        """Rows, int64 ``[k]``, take no further part.

        Raises:
            ConfigError: nothing in the stack can suspend rows.
        """
        if len(rows) and not self._holder.can_hold:
            raise ConfigError("Parking rows needs a SuspendOnWait in the stack.")
        self.parked_mask[rows] = True

    def unpark(self, rows: np.ndarray) -> None:
        """Rows, int64 ``[k]``, take part again."""
        self.parked_mask[rows] = False

    def find(self) -> np.ndarray:
        """The live rows, bool ``[N]``; waits for somebody else's while there are no others.

        Raises:
            SuspensionError: every row is parked.
        """
        self._holder.resume_finished()
        while np.count_nonzero(live := self.mask) == 0:
            if self._holder.others() is None:
                raise SuspensionError(
                    "Every row is parked, so there is nothing to step: unpark() some."
                )
            self._holder.wait_for_others()
        return live

    def hold_all_but(self, active_mask: np.ndarray, live_mask: np.ndarray) -> None:
        """See to it that the next step advances exactly the active rows.

        Args:
            active_mask: bool ``[N]``.
            live_mask: as found before, bool ``[N]``.
        """
        if np.count_nonzero(active_mask) == len(active_mask):
            self._holder.hold_exactly(set())
            return
        waiting = live_mask & ~active_mask
        self._holder.hold_exactly(set(np.flatnonzero(waiting | self.parked_mask).tolist()))

    def let_go(self) -> None:
        """Resume what was suspended here."""
        self._holder.let_go()
