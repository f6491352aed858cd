"""Which chunk of which episode each row is in, how far, and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from holdstep.policies.chunked.handover import Handover, Splice

NO_TICKET = -1


@dataclass(frozen=True, kw_only=True)
class RowsView:
    """What a scheduler decides by; arrays of the rows, which it must not edit.

    Attributes:
        tick: env steps since the runner's reset.
        live_mask: rows that take part: neither parked nor suspended by somebody else.
        idle_mask: live rows that have no action left and have not been asked for.
        wanting_mask: live rows that could be asked for: idle ones, and those that have reached the
            lead of a scheduler that asks early.
        in_flight_mask: rows whose chunk is being inferred.
        waited_ticks: env steps for which a row has had no action, int64 ``[N]``.
        num_requests: requests that are being inferred.
    """

    tick: int
    live_mask: np.ndarray
    idle_mask: np.ndarray
    wanting_mask: np.ndarray
    in_flight_mask: np.ndarray
    waited_ticks: np.ndarray
    num_requests: int

    @property
    def num_live(self) -> int:
        """Number of live rows."""
        return int(np.count_nonzero(self.live_mask))

    @property
    def nothing_runs(self) -> bool:
        """No live row has an action, so that no step can be made before somebody is asked for."""
        return bool(np.all(self.waited_ticks[self.live_mask] >= 0))


class ChunkLedger:
    """Books of chunks by ``(env, episode, chunk)``: asked for, arrived, executed, dropped.

    Lives on the host, and holds no actions (:class:`~holdstep.policies.chunked.ActionQueue` does),
    so that schedulers can be run against it without an env, or any clock but a simulated one.

    A chunk is asked for under a ticket. When the row's episode ends before the chunk is there, the
    ticket is no longer the row's, and the chunk is dropped and counted.

    Attributes:
        episode_ids: the episode of each row, from 0 since the last :meth:`clear`, int64 ``[N]``.
        chunk_ids: the chunk of that episode which is asked for next, int64 ``[N]``.
        remaining: actions that a row has left to execute, int64 ``[N]``.
        live_mask: rows that take part, bool ``[N]``.
        row_steps: steps that each row has made since the last :meth:`clear`, int64 ``[N]``.
        num_late: chunks that came after their episode had ended.
        num_dropped_actions: actions that were inferred, meant to be executed, and not executed
            because the episode ended.
    """

    def __init__(self, num_envs: int, *, execute: int, handover: Handover) -> None:
        self.num_envs = num_envs
        self.execute = execute
        self._handover = handover
        self.episode_ids = np.zeros(num_envs, dtype=np.int64)
        self.chunk_ids = np.zeros(num_envs, dtype=np.int64)
        self.remaining = np.zeros(num_envs, dtype=np.int64)
        self.live_mask = np.ones(num_envs, dtype=bool)
        self.row_steps = np.zeros(num_envs, dtype=np.int64)
        self.num_late = 0
        self.num_dropped_actions = 0
        self._tickets = np.full(num_envs, NO_TICKET, dtype=np.int64)
        self._left_when_observed = np.full(num_envs, -1, dtype=np.int64)
        # Of the newest chunk, when it came.
        self._newest_count = np.zeros(num_envs, dtype=np.int64)
        # The tick since which a row has had no action; -1 while it has some.
        self._idle_since = np.zeros(num_envs, dtype=np.int64)
        self._tick = 0

    @property
    def tick(self) -> int:
        """Env steps since :meth:`clear`."""
        return self._tick

    @property
    def handover(self) -> Handover:
        """How chunks that are asked for from now on follow those before them."""
        return self._handover

    @handover.setter
    def handover(self, handover: Handover) -> None:
        if handover is not self._handover and handover != self._handover:
            self._handover = handover
            # Observed under the old rule, but not asked for: under the new one it may be too early.
            self._left_when_observed[~self.in_flight_mask] = -1

    @property
    def runnable_mask(self) -> np.ndarray:
        """Live rows that have an action, bool ``[N]``."""
        mask: np.ndarray = self.live_mask & (self.remaining > 0)
        return mask

    @property
    def in_flight_mask(self) -> np.ndarray:
        """Rows whose chunk is being inferred, bool ``[N]``."""
        mask: np.ndarray = self._tickets != NO_TICKET
        return mask

    def clear(self) -> None:
        """All rows begin their first episode, and are live."""
        self._tick = 0
        self.row_steps[:] = 0
        self.episode_ids[:] = -1
        self.live_mask[:] = True
        self.begin_episodes(np.arange(self.num_envs))

    def begin_episodes(self, rows: np.ndarray) -> None:
        """Rows, int64 ``[k]``, are in new episodes: nothing of the old ones is executed."""
        self.num_dropped_actions += int(self.remaining[rows].sum())
        self.episode_ids[rows] += 1
        self.chunk_ids[rows] = 0
        self.remaining[rows] = 0
        self._tickets[rows] = NO_TICKET
        self._left_when_observed[rows] = -1
        self._idle_since[rows] = self._tick

    @property
    def wants_any(self) -> bool:
        """Whether some live row could be asked for; otherwise no scheduler need be."""
        return bool(np.count_nonzero(self._wanting()))

    def newly_wanting(self) -> np.ndarray:
        """Rows that have reached the lead since the last call, int64 ``[k]``.

        Their observation of now is the one that their next chunk is inferred from, whenever it is
        asked for: what a row does must not depend on how long others keep it waiting.
        """
        rows = np.flatnonzero(self._wanting() & (self._left_when_observed < 0))
        self._left_when_observed[rows] = self.remaining[rows]
        return rows

    def left_when_observed(self, rows: np.ndarray) -> np.ndarray:
        """Actions between the rows' observations and their next chunks, int64 ``[k]``."""
        # A scheduler without a lead observes a row when it asks for it, and then nothing is left.
        left: np.ndarray = np.maximum(self._left_when_observed[rows], 0)
        return left

    def view(self) -> RowsView:
        """What a scheduler decides by."""
        wanting = self._wanting()
        waited = np.where(self._idle_since >= 0, self._tick - self._idle_since, -1)
        in_flight = self.in_flight_mask
        return RowsView(
            tick=self._tick,
            live_mask=self.live_mask,
            idle_mask=wanting & (self.remaining == 0),
            wanting_mask=wanting,
            in_flight_mask=in_flight,
            waited_ticks=waited,
            num_requests=len(np.unique(self._tickets[in_flight])) if in_flight.any() else 0,
        )

    def submit(self, rows: np.ndarray, ticket: int) -> None:
        """Chunks of rows, int64 ``[k]``, have been asked for."""
        self._tickets[rows] = ticket

    def wanted_mask(self, rows: np.ndarray, ticket: int) -> np.ndarray:
        """Which of the chunks of rows, int64 ``[k]``, are still wanted, bool ``[k]``."""
        wanted: np.ndarray = self._tickets[rows] == ticket
        return wanted

    def settle(self, rows: np.ndarray, ticket: int) -> np.ndarray:
        """Chunks have arrived: which of them are still wanted, bool ``[k]``; counts the others."""
        wanted = self.wanted_mask(rows, ticket)
        self.num_late += int(np.count_nonzero(~wanted))
        self._tickets[rows[wanted]] = NO_TICKET
        return wanted

    def give_up(self, rows: np.ndarray, ticket: int) -> None:
        """No chunks will come under this ticket; rows, int64 ``[k]``, that still wait want one."""
        self._tickets[rows[self._tickets[rows] == ticket]] = NO_TICKET

    def splice(self, rows: np.ndarray, lengths: np.ndarray, handover: Handover) -> Splice:
        """What rows, int64 ``[k]``, would execute next with new chunks; changes nothing.

        Args:
            rows: those whose chunks are wanted.
            lengths: valid actions of their chunks, int64 ``[k]``, at least 1.
            handover: that which held when they were asked for.
        """
        return handover.splice(
            lengths=lengths,
            execute=self.execute,
            left_when_observed=self.left_when_observed(rows),
            left_now=self.remaining[rows],
        )

    def install(self, rows: np.ndarray, splice: Splice) -> None:
        """Rows, int64 ``[k]``, which :meth:`settle` found to want them, have new chunks."""
        self.remaining[rows] = splice.keep + splice.count
        self.chunk_ids[rows] += 1
        self._newest_count[rows] = splice.count
        self._left_when_observed[rows] = -1
        idle_since = self._idle_since[rows]
        idle_since[idle_since < 0] = self._tick  # of those that are left without any action
        self._idle_since[rows] = np.where(self.remaining[rows] > 0, -1, idle_since)

    def advance(self, active_mask: np.ndarray) -> None:
        """One tick: the rows of ``active_mask`` have executed an action."""
        self._tick += 1
        self.row_steps += active_mask
        self.remaining -= active_mask
        used_up = active_mask & (self.remaining == 0)
        if np.count_nonzero(used_up):
            self._idle_since[used_up] = self._tick

    def _wanting(self) -> np.ndarray:
        # Not before the old chunk's actions are used up, though a short new one may have come while
        # some were left: when it comes must not decide from where the one after it is observed.
        lead = self._handover.lead
        most_left = np.minimum(lead, self._newest_count) if lead else 0
        wanting: np.ndarray = (
            self.live_mask & (self.remaining <= most_left) & (self._tickets == NO_TICKET)
        )
        return wanting
