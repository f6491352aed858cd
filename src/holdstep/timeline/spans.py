"""Stretches of time in a trace that have a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from holdstep.timeline.states import RowState


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One call of a policy, or of anything else that rows waited for.

    Attributes:
        env_ids: the rows that it was made for, int64 ``[B]``, ascending.
        submitted_s: when it was asked for [s since the trace began].
        begin_s: when it began, after waiting in a queue [s].
        end_s: when it was over [s].
        kind: what it was.
        error: why it failed, or None.
    """

    env_ids: npt.NDArray[np.int64]
    submitted_s: float
    begin_s: float
    end_s: float
    kind: str = "inference"
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class EpisodeSpan:
    """One episode of a row.

    Attributes:
        env_id: the row.
        episode_id: its number.
        begin_tick: the first tick at which the row could advance in it.
        end_tick: the tick in which it ended, the last one that belongs to it.
        episode_return: the sum of its rewards; NaN where that is not a finite number.
        success: whether it succeeded, or None where nobody said so.
    """

    env_id: int
    episode_id: int
    begin_tick: int
    end_tick: int
    episode_return: float
    success: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Note:
    """A remark.

    Attributes:
        text: what was remarked.
        at_s: the time it is about [s since the trace began].
    """

    text: str
    at_s: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Numbers that were read at one moment.

    Attributes:
        values: by name; NaN where it was not a finite number.
        at_s: when [s since the trace began].
    """

    values: Mapping[str, float]
    at_s: float


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A stretch of time in which a row did one thing.

    Attributes:
        begin_s: its begin [s since the trace began].
        end_s: its end [s].
        state: what the row did.
    """

    begin_s: float
    end_s: float
    state: RowState
