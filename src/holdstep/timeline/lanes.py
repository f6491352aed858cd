"""Calls side by side, where several run at once."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.timeline.spans import Call


def lanes_of(calls: Sequence[Call]) -> list[int]:
    """For each call the lowest lane that is free when it begins.

    Args:
        calls: ordered by their begin.

    >>> from numpy import array
    >>> from holdstep.timeline import Call
    >>> def call(begin_s, end_s):
    ...     return Call(env_ids=array([0]), submitted_s=0.0, begin_s=begin_s, end_s=end_s)
    >>> lanes_of([call(0, 3), call(1, 2), call(2, 4)])
    [0, 1, 1]
    """
    lanes: list[int] = []
    running: list[tuple[float, int]] = []
    free: list[int] = []
    num_lanes = 0
    for call in calls:
        while running and running[0][0] <= call.begin_s:
            heapq.heappush(free, heapq.heappop(running)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, num_lanes = num_lanes, num_lanes + 1
        heapq.heappush(running, (call.end_s, lane))
        lanes.append(lane)
    return lanes
