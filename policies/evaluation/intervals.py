"""Confidence intervals of a success rate and of a mean."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from holdstep.errors import ConfigError

Interval = tuple[float, float]

_RESAMPLES = 2000
_BLOCK = 4_000_000  # resampled values held at a time, 32 MB
_BOOTSTRAP_SEED = 0  # fixed: the same episodes always have the same interval


def checked_confidence(confidence: float) -> float:
    """A confidence level between 0 and 1.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(confidence, bool) or not isinstance(confidence, int | float):
        raise ConfigError(f"confidence must be a number between 0 and 1, got {confidence!r}.")
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"confidence must lie between 0 and 1, as 0.95 does, got {confidence!r}.")
    return float(confidence)


def wilson_interval(num_successes: int, num_episodes: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a rate (E. B. Wilson, JASA 22, 1927), not continuity-corrected.

    Unlike the rate plus or minus its standard error, it lies within 0 and 1, has a width also where
    all episodes or none succeed, and covers about as often as it says from few episodes on (Brown,
    Cai and DasGupta, "Interval estimation for a binomial proportion", 2001).

    Args:
        num_successes: from 0 to ``num_episodes``.
        num_episodes: at least 1.
        confidence: how often such intervals contain the true rate.

    Raises:
        ConfigError: an argument can't be used.

    >>> low, high = wilson_interval(45, 50)
    >>> round(low, 3), round(high, 3)
    (0.786, 0.957)
    """
    if num_episodes < 1 or not 0 <= num_successes <= num_episodes:
        raise ConfigError(
            "There must be at least one episode, and no more successes than episodes; got "
            f"{num_successes} successes of {num_episodes}."
        )
    z = NormalDist().inv_cdf(0.5 + checked_confidence(confidence) / 2)
    rate = num_successes / num_episodes
    weight = z * z / num_episodes
    centre = (rate + weight / 2) / (1 + weight)
    spread = rate * (1 - rate) / num_episodes + weight / (4 * num_episodes)
    half_width = z * float(np.sqrt(spread)) / (1 + weight)
    # At rates of 0 and 1, one bound is exact, and rounding may lie outside of it.
    low = 0.0 if num_successes == 0 else centre - half_width
    high = 1.0 if num_successes == num_episodes else centre + half_width
    return low, high


def bootstrap_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Percentile bootstrap interval of a mean (Efron, 1979), from 2000 resamples.

    Makes no assumption about how the values are distributed; returns of episodes often have two
    humps, one for failures and one for successes. Too narrow for fewer than about 20 values. The
    same values always give the same interval.

    Args:
        values: one per episode.
        confidence: how often such intervals contain the true mean.

    Returns:
        None for fewer than two values, or where one is not finite.
    """
    checked_confidence(confidence)
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 2 or not np.isfinite(sample).all():
        return None
    generator = np.random.default_rng(_BOOTSTRAP_SEED)
    block = max(1, _BLOCK // sample.size)
    means = np.concatenate(
        [
            sample[generator.integers(sample.size, size=(count, sample.size))].mean(axis=1)
            for count in _blocks(_RESAMPLES, block)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _blocks(total: int, block: int) -> list[int]:
    return [min(block, total - start) for start in range(0, total, block)]
