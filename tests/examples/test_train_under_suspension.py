"""PPO while rows wait."""

import pytest

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")

from tests.examples.load import load_example

example = load_example("train_under_suspension")


def test_rows_that_wait_cost_time_and_no_learning():
    alone, masked, gathered = example.main(example.Arguments(env_steps=24_000))
    for outcome in (alone, masked, gathered):
        assert 24_000 <= outcome.env_steps < 24_000 + 64 * 32
        assert outcome.length > 110
    assert gathered.length == alone.length  # to the last bit of the weights
    assert 1.2 < masked.ticks / alone.ticks < 1.8  # about a third of the rows wait
    assert gathered.ticks > 1.5 * alone.ticks  # everybody waits for the slowest


def test_what_is_not_learnt_shows():
    outcome = example.train("short", example.Arguments(env_steps=1))
    assert outcome.length < 90
