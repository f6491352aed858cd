"""What must neither be lost nor happen twice on its way between an env and a source of actions."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ExecutionState(enum.IntEnum):
    """Whether a source is driving its rows."""

    STOPPED = 0
    PAUSED = 1
    RUNNING = 2


@dataclass(frozen=True, kw_only=True)
class SourceEvents:
    """Edges: each happens once, however often the frame that brings it is looked at.

    Requests that are replaced before anybody worked on them leave their events to the one that
    replaces them (:meth:`merged_with`).

    Attributes:
        reset: a new episode begins.
        reset_env_ids: the rows that ``reset`` means, ascending; empty for all rows of the source.
        success: how the operator marks the episode; None for no mark.
        discard_last: the operator wants to do the last demonstration again.
        state: the state that was entered, if one was; always the last of ``edges``.
        edges: all states that were entered, in their order. May be left out where ``state`` is the
            only one.
    """

    reset: bool = False
    reset_env_ids: tuple[int, ...] = ()
    success: bool | None = None
    discard_last: bool = False
    state: ExecutionState | None = None
    edges: tuple[ExecutionState, ...] = ()

    def __post_init__(self) -> None:
        if self.state is None and self.edges:
            object.__setattr__(self, "state", self.edges[-1])
        elif self.state is not None and self.edges[-1:] != (self.state,):
            object.__setattr__(self, "edges", (*self.edges, self.state))

    def __bool__(self) -> bool:
        """Whether anything happened."""
        return self.reset or self.discard_last or self.success is not None or self.state is not None

    def merged_with(self, later: SourceEvents) -> SourceEvents:
        """These events and later ones, as one delivery.

        Resets and discards are OR-ed, of two marks the later one counts, and every edge of the
        execution state is kept in its order.
        """
        if not later:
            return self
        if not self:
            return later
        return SourceEvents(
            reset=self.reset or later.reset,
            reset_env_ids=_merged_rows(self, later),
            success=self.success if later.success is None else later.success,
            discard_last=self.discard_last or later.discard_last,
            edges=self.edges + later.edges,
        )

    def without_echo(self, host: SourceEvents, env_ids: tuple[int, ...] = ()) -> SourceEvents:
        """What of a frame's events is the operator's own.

        A source that was told of a host's reset often reports one itself in that frame. Applied
        again, it would reset the env a second time, of which the source would be told again. A
        reset that names no rows means all of them: if the host has reset only some, the others are
        left. So a source that echoes has to name the rows that it was told of.

        Args:
            host: what the request of the same frame carried.
            env_ids: the rows of the source.
        """
        if not self or not host:
            return self
        reset, rows = self.reset, self.reset_env_ids
        if reset and host.reset:
            left = set(rows or env_ids).difference(host.reset_env_ids)
            rows = tuple(sorted(left)) if host.reset_env_ids else ()
            reset = bool(rows)
        edges = list(self.edges)
        for edge in host.edges:
            if edge in edges:
                edges.remove(edge)
        return SourceEvents(
            reset=reset,
            reset_env_ids=rows if reset else (),
            success=None if self.success == host.success else self.success,
            discard_last=self.discard_last and not host.discard_last,
            edges=tuple(edges),
        )


NO_EVENTS = SourceEvents()


def _merged_rows(first: SourceEvents, later: SourceEvents) -> tuple[int, ...]:
    """The rows that two deliveries reset; empty for all."""
    resets = [events for events in (first, later) if events.reset]
    if not all(events.reset_env_ids for events in resets):
        return ()
    return tuple(sorted({row for events in resets for row in events.reset_env_ids}))
