"""PPO on chunks of eight actions."""

import pytest

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")

from tests.examples.load import load_example

example = load_example("train_on_chunks")


def test_a_policy_that_looks_at_every_eighth_step_learns_to_balance():
    outcome = example.main(example.Arguments(iterations=40))
    before, after = outcome.lengths
    assert before < 100
    assert after > 150
    # One decision is eight steps, fewer where an episode ends.
    assert outcome.env_steps / 8 <= outcome.decisions <= outcome.env_steps / 8 + 64


def test_what_is_not_learnt_shows():
    outcome = example.main(example.Arguments(iterations=1, num_envs=16))
    assert outcome.lengths[1] < 200
