"""A timeline as an image: a line of pixels for each row, or for a few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from holdstep.timeline.intervals import IntervalMaker
from holdstep.timeline.palette import COLORS, rgb
from holdstep.timeline.states import RowState

if TYPE_CHECKING:
    from holdstep.timeline.timeline import Timeline

Shares = npt.NDArray[np.float32]


def state_shares(timeline: Timeline, *, num_columns: int, max_lines: int) -> Shares:
    """How much of each pixel's time its rows spent in each state.

    Exact averages, not samples: what is shorter than a pixel is seen as a tint.

    Args:
        timeline: what to draw, over its ``span_s``.
        num_columns: pixels over time, W.
        max_lines: the most lines of pixels; more rows than that share lines evenly.

    Returns:
        Shares that add up to 1, float32 ``[lines, W, number of RowStates]``.
    """
    begin_s, end_s = timeline.span_s
    columns = np.linspace(begin_s, end_s, num_columns + 1)
    width_s = max((end_s - begin_s) / num_columns, np.finfo(float).tiny)
    num_lines = min(timeline.num_envs, max_lines)
    shares = np.zeros((num_lines, num_columns, len(RowState)), dtype=np.float32)
    line_of_row = np.arange(timeline.num_envs) * num_lines // timeline.num_envs
    rows_of_line = np.bincount(line_of_row)
    maker = IntervalMaker(timeline)
    for index, line in enumerate(line_of_row.tolist()):
        row = maker.of_row(index)
        durations = np.diff(row.edges_s)
        for state in RowState:
            of_state = durations * (row.states == state)
            if state is RowState.NO_TICK or not of_state.any():
                continue
            spent = np.interp(columns, row.edges_s, np.append(0.0, np.cumsum(of_state)))
            shares[line, :, state] += np.diff(spent) / (width_s * rows_of_line[line])
    shares[:, :, RowState.NO_TICK] = np.clip(1.0 - shares.sum(axis=2), 0.0, 1.0)
    return shares


def to_rgb(shares: Shares) -> npt.NDArray[np.float32]:
    """The mixture of colours that shares stand for, float32 ``[lines, W, 3]`` from 0 to 1."""
    colors = np.array([rgb(COLORS[state]) for state in RowState], dtype=np.float32)
    mixture: npt.NDArray[np.float32] = shares @ colors
    return mixture.clip(0.0, 1.0)
