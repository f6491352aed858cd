"""Statistics of features, as LeRobot's datasets have them for normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from holdstep.wrappers.record.columns import Array

Stats = dict[str, Array]

_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_MAX_FRAMES = 100
_MAX_SIDE = 150
"""Of an image's statistics: so many frames of an episode, of about so many pixels a side."""


def array_stats(values: Array) -> Stats:
    """Statistics of an array feature over the steps of an episode.

    Args:
        values: ``[T, ...]``, of any number type.

    Returns:
        ``min``, ``max``, ``mean``, ``std`` and quantiles, float64 of the feature's shape (``[1]``
        for a scalar), and ``count``, ``[1]``.
    """
    values = np.asarray(values, np.float64)
    if values.ndim == 1:
        values = values[:, None]
    return _stats(values, axis=0, count=len(values))


def image_stats(frames: Array) -> Stats:
    """Statistics of an image feature: per channel, of values between 0 and 1.

    Args:
        frames: uint8 ``[T, H, W, C]``.

    Returns:
        As :func:`array_stats`, each ``[C, 1, 1]``; ``count`` is the number of frames looked at.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MAX_FRAMES)).astype(int))
    stride = max(1, max(frames.shape[1:3]) // _MAX_SIDE)
    pixels = frames[chosen, ::stride, ::stride].reshape(-1, frames.shape[-1]) / 255.0
    return {
        name: value if name == "count" else value[:, None, None]
        for name, value in _stats(pixels, axis=0, count=len(chosen)).items()
    }


def _stats(values: Array, *, axis: int, count: int) -> Stats:
    # Values that occur, not ones between them: LeRobot counts in fine bins.
    quantiles = np.quantile(values, list(_QUANTILES.values()), axis=axis, method="inverted_cdf")
    return {
        "min": values.min(axis),
        "max": values.max(axis),
        "mean": values.mean(axis),
        "std": values.std(axis),
        "count": np.array([count]),
        **dict(zip(_QUANTILES, quantiles, strict=True)),
    }


class TotalStats:
    """Statistics of a whole dataset, from those of its episodes.

    Minimum, maximum, mean and deviation are exact; quantiles are the episodes' means, which is how
    LeRobot itself puts datasets together.
    """

    def __init__(self) -> None:
        self._total: dict[str, Stats] = {}

    def add(self, episode: dict[str, Stats]) -> None:
        """Take in the statistics of one more episode, by feature."""
        for feature, stats in episode.items():
            before = self._total.get(feature)
            self._total[feature] = stats if before is None else _together(before, stats)

    def to_json(self) -> dict[str, Any]:
        """As plain lists, by feature and statistic."""
        return {
            feature: {name: value.tolist() for name, value in stats.items()}
            for feature, stats in self._total.items()
        }


def _together(a: Stats, b: Stats) -> Stats:
    count = a["count"] + b["count"]
    share = float(b["count"][0] / count[0])
    mean = a["mean"] + share * (b["mean"] - a["mean"])
    variance = (1 - share) * a["std"] ** 2 + share * b["std"] ** 2
    variance = variance + share * (1 - share) * (b["mean"] - a["mean"]) ** 2
    return {
        "min": np.minimum(a["min"], b["min"]),
        "max": np.maximum(a["max"], b["max"]),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": count,
        **{name: a[name] + share * (b[name] - a[name]) for name in _QUANTILES},
    }
