"""Final observations of Isaac Lab 3: right, and without a trace on the trajectory."""

import pytest
import torch

from tests.isaaclab.conftest import trajectory

GO2 = "Isaac-Velocity-Flat-Unitree-Go2-v0"
HISTORY = {"observations.policy.history_length": 3}
CASES = [
    pytest.param("Isaac-Cartpole-v0", HISTORY, id="cartpole-history"),
    pytest.param("Isaac-Cartpole-Direct-v0", {}, id="cartpole-direct"),
    pytest.param("Isaac-Ant-v0", {}, id="ant"),
    pytest.param("Isaac-Ant-Direct-v0", {}, id="ant-direct"),
    pytest.param(GO2, {}, id="go2"),
    pytest.param(GO2, HISTORY, id="go2-history"),
]
GO2_COMMAND = slice(9, 12)
"""Where the velocity command is in Go2's observation. Isaac Lab advances commands after a reset."""


@pytest.mark.parametrize(("task", "overrides"), CASES)
def test_they_leave_no_trace_on_the_trajectory(make_env, task, overrides):
    """Stale body-frame quantities included: stock Isaac Lab returns some after an in-step reset."""
    runs = []
    for enabled in (True, False):
        env = make_env(task, num_envs=6, **overrides)
        env.final_obs_enabled = enabled
        runs.append(trajectory(env, 45, episode_steps=15))
        env.close()
    num_ended = 0
    for with_final, without in zip(*runs, strict=True):
        _, obs, *vectors, info = with_final
        _, plain_obs, *plain_vectors, plain_info = without
        ended = vectors[1] | vectors[2]
        num_ended += int(ended.sum())
        assert ("final_obs" in info) == bool(ended.any())
        assert "final_obs" not in plain_info
        assert all(torch.equal(obs[name], plain_obs[name]) for name in plain_obs)
        assert all(torch.equal(a, b) for a, b in zip(vectors, plain_vectors, strict=True))
    assert num_ended >= 6


@pytest.mark.parametrize(("task", "overrides"), CASES)
def test_they_are_what_the_env_returns_when_the_episode_goes_on(make_env, task, overrides):
    """Until the first reset, an env with a later time limit takes the same course."""
    runs = []
    for episode_steps in (8, None):
        env = make_env(task, num_envs=6, **overrides)
        runs.append(trajectory(env, 9, episode_steps=episode_steps))
        env.close()
    compared = 0
    for ending, going_on in zip(*runs, strict=True):
        *_, info = ending
        if "final_obs" not in info:
            continue
        rows = info["_final_obs"]
        final, expected = info["final_obs"]["policy"][rows], going_on[1]["policy"][rows]
        if task == GO2 and not overrides:
            kept = torch.ones(final.shape[1], dtype=torch.bool)
            kept[GO2_COMMAND] = False
            final, expected = final[:, kept], expected[:, kept]
        elif task == GO2:
            kept = torch.ones(final.shape[1], dtype=torch.bool)
            kept[3 * GO2_COMMAND.start : 3 * GO2_COMMAND.stop] = False
            final, expected = final[:, kept], expected[:, kept]
        torch.testing.assert_close(final, expected, rtol=0, atol=0)
        assert not torch.equal(final, ending[1]["policy"][rows][:, : final.shape[1]])
        compared += 1
        break
    assert compared == 1
