"""Resets of some rows, which Isaac Lab 3 itself answers with a new observation of every row."""

import pytest
import torch

from tests.isaaclab.conftest import NUM_ENVS, silenced, trajectory

OTHERS = [0, 2]
TASKS = [
    pytest.param("Isaac-Cartpole-v0", id="manager"),
    pytest.param("Isaac-Cartpole-Direct-v0", id="direct"),
    pytest.param("Isaac-Ant-Direct-v0", id="ant-direct"),
]


@pytest.mark.parametrize("task", TASKS)
def test_other_rows_stay_as_they_are(make_env, task):
    env = make_env(task)
    before = trajectory(env, 4, episode_steps=None)[-1][1]["policy"].clone()
    clocks = env.episode_length_buf.clone()
    with silenced():
        obs, info = env.reset(options={"env_ids": [1, 3]})
    assert torch.equal(obs["policy"][OTHERS], before[OTHERS])
    assert not torch.equal(obs["policy"][[1, 3]], before[[1, 3]])
    assert env.episode_length_buf.tolist() == [int(clocks[0]), 0, int(clocks[2]), 0]
    assert "log" not in info
    assert env.reset(options={"env_ids": []})[1] == {}


def test_other_rows_keep_their_history(make_env):
    """A joint's history is two numbers by three steps, the oldest first."""
    env = make_env("Isaac-Cartpole-v0", **{"observations.policy.history_length": 3})
    before = trajectory(env, 5, episode_steps=None)[-1][1]["policy"]
    with silenced():
        reset_obs = env.reset(options={"env_ids": [1, 3]})[0]["policy"]
    after = env.step(torch.zeros(NUM_ENVS, 1))[0]["policy"]
    for start in (0, 6):  # positions, velocities
        for row in OTHERS:
            assert torch.equal(after[row, start : start + 4], before[row, start + 2 : start + 6])
            assert torch.equal(reset_obs[row], before[row])
        for row in (1, 3):  # an episode's first observation fills its history
            first = reset_obs[row, start : start + 2]
            assert torch.equal(reset_obs[row, start : start + 6], first.repeat(3))
            assert torch.equal(after[row, start : start + 4], first.repeat(2))
    assert torch.equal(env.backend_env.obs_buf["policy"], after)
