"""Confidence intervals, against scipy and against what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdstep.errors import ConfigError
from holdstep.policies.evaluation import bootstrap_interval, wilson_interval
from holdstep.policies.evaluation import intervals as module

stats = pytest.importorskip("scipy.stats", reason="scipy is what intervals are compared with")


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.999]))
def test_wilson_is_scipys(num_episodes, part, confidence):
    num_successes = round(part * num_episodes)
    low, high = wilson_interval(num_successes, num_episodes, confidence)
    expected = stats.binomtest(num_successes, num_episodes).proportion_ci(
        confidence_level=confidence, method="wilson"
    )
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0.0 <= low <= num_successes / num_episodes <= high <= 1.0


@pytest.mark.parametrize(("num_successes", "num_episodes"), [(1, 0), (-1, 5), (6, 5), (0, 0)])
def test_counts_that_make_no_sense(num_successes, num_episodes):
    with pytest.raises(ConfigError, match="at least one episode, and no more successes"):
        wilson_interval(num_successes, num_episodes)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, -0.5, math.nan, "0.95", True, None])
def test_confidences_that_make_no_sense(confidence):
    with pytest.raises(ConfigError, match="confidence must"):
        wilson_interval(1, 2, confidence)
    with pytest.raises(ConfigError, match="confidence must"):
        bootstrap_interval([1.0, 2.0], confidence)


def test_the_bootstrap_is_near_scipys_t_interval_for_many_values():
    values = np.random.default_rng(1).gamma(2.0, 3.0, size=800)
    for confidence in (0.8, 0.95):
        expected = stats.t.interval(confidence, len(values) - 1, values.mean(), stats.sem(values))
        width = expected[1] - expected[0]
        assert bootstrap_interval(values.tolist(), confidence) == pytest.approx(
            expected, abs=0.1 * width
        )


def test_the_bootstrap_covers_about_as_often_as_it_says():
    """Of returns with two humps, as those of successes and failures."""
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        good = generator.random(60) < 0.5
        values = np.where(good, 10.0, -5.0) + generator.normal(size=60)
        low, high = bootstrap_interval(values.tolist(), 0.9)
        covered += low <= 2.5 <= high
    assert 0.84 <= covered / 200 <= 0.96


def test_the_bootstrap_repeats_itself_and_takes_large_samples_in_blocks(monkeypatch):
    values = np.random.default_rng(0).normal(size=500).tolist()
    first = bootstrap_interval(values)
    assert first == bootstrap_interval(values)
    monkeypatch.setattr(module, "_BLOCK", 7 * 500)
    assert first == pytest.approx(bootstrap_interval(values), rel=1e-9)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [math.inf, 1.0]])
def test_means_that_have_no_interval(values):
    assert bootstrap_interval(values) is None
