"""Rows on clocks of their own live as they would without the others."""

import pytest
import torch

from holdstep.envs import make
from tests.examples.load import load_example

example = load_example("timescales")


@pytest.mark.parametrize("periods", [(1, 2, 4, 8), (3, 2, 5)])
def test_rows_live_their_own_time(periods):
    arguments = example.Arguments(periods=periods, num_ticks=120, max_episode_length=20)
    outcome = example.main(arguments)
    num_steps = [len(history) for history in outcome.histories]
    assert num_steps == [len(range(0, 120, period)) for period in periods]
    assert outcome.episodes == [steps // 20 for steps in num_steps]

    # The same env with every row in every step, observations by the rows' own steps.
    env = make("holdstep:CartPole", num_envs=len(periods), device="cpu", max_episode_length=20)
    obs, _ = env.reset(seed=arguments.seed)
    expected = []
    for _ in range(max(num_steps)):
        obs, *_ = env.step(example.policy(obs))
        expected.append(obs["policy"])
    for row, history in enumerate(outcome.histories):
        assert torch.equal(history, torch.stack(expected)[: len(history), row])
