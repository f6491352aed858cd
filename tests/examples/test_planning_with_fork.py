"""Planning in forks of a row, on real physics."""

import pytest
import torch

from tests.examples.load import load_example


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    return load_example("planning_with_fork")


def test_futures_swing_the_pole_up(example):
    outcome = example.main(example.Arguments(horizon=5, num_futures=40, num_plans=20))
    assert outcome.upright > 0.9
    # The row stood still while its futures were tried, and they were its futures indeed.
    assert outcome.stood_still
    assert torch.equal(outcome.predicted, outcome.obtained)
    assert len(outcome.obtained) == 20 * example.HOLD


def test_without_alternatives_to_choose_from_it_stays_down(example):
    """What the first test would see if looking ahead was of no use."""
    outcome = example.main(example.Arguments(horizon=1, num_futures=1, num_plans=6))
    assert outcome.upright < -0.9
    assert outcome.stood_still
    assert torch.equal(outcome.predicted, outcome.obtained)
