import math

import numpy as np
import pytest
import torch

from holdstep.envs.reference import PointMass


def env_at(position, velocity, goal, **kwargs):
    env = PointMass(1, seed=0, **kwargs)
    env.reset()
    env.row_buffers["state"].copy_(torch.tensor([[*position, *velocity, *goal]]))
    return env


def seeking_actions(policy_obs):
    """A PD controller to the goal."""
    return (20 * policy_obs[:, 4:] - 8 * policy_obs[:, 2:4]).clamp(-1, 1)


def test_acceleration_moves_the_mass():
    env = env_at((0.0, 0.5), (0.1, 0.0), (0.9, 0.9))
    obs, *_ = env.step(torch.tensor([[1.0, -0.5]]))
    # Semi-implicit Euler over 0.05 s with 2 m/s^2 at full action.
    torch.testing.assert_close(
        obs["policy"][0, :4], torch.tensor([0.2 * 0.05, 0.5 - 0.05 * 0.05, 0.2, -0.05])
    )
    torch.testing.assert_close(obs["policy"][0, 4:], torch.tensor([0.89, 0.4025]))


def test_speed_is_limited():
    env = env_at((-0.9, 0.0), (0.95, -0.95), (0.9, 0.9))
    obs, *_ = env.step(torch.tensor([[1.0, -1.0]]))
    assert obs["policy"][0, 2:4].tolist() == [1.0, -1.0]


def test_walls_stop_the_mass_on_their_axis_only():
    env = env_at((0.98, 0.0), (1.0, 0.5), (-0.9, 0.9))
    obs, *_ = env.step(torch.zeros(1, 2))
    assert obs["policy"][0, 0] == 1.0
    assert obs["policy"][0, 2:4].tolist() == [0.0, 0.5]


def test_reaching_the_goal_terminates_with_success():
    env = env_at((0.0, 0.0), (0.5, 0.0), (0.06, 0.0))
    obs, reward, terminated, truncated, info = env.step(torch.zeros(1, 2))
    assert terminated.tolist() == [True]
    assert truncated.tolist() == [False]
    assert reward.tolist() == [10.0]
    assert info["success"].tolist() == info["_success"].tolist() == [True]
    torch.testing.assert_close(info["final_obs"]["critic"][0, 6], torch.tensor(0.035))
    assert torch.equal(obs["policy"][0, 2:4], torch.zeros(2))  # a new episode starts at rest


def test_reward_is_minus_the_distance_before_that():
    env = env_at((0.0, 0.0), (0.0, 0.0), (0.3, 0.4))
    _, reward, terminated, _, info = env.step(torch.zeros(1, 2))
    torch.testing.assert_close(reward, torch.tensor([-0.5]))
    assert not terminated.any()
    assert not info["_success"].any()


def test_running_out_of_time_is_no_success():
    env = env_at((0.0, 0.0), (0.0, 0.0), (0.9, 0.9))
    for step in range(1, 101):
        _, _, terminated, truncated, info = env.step(torch.zeros(1, 2))
        assert truncated.tolist() == info["_success"].tolist() == [step == 100]
        assert not terminated.any()
        assert not info["success"].any()


def test_a_controller_reaches_every_goal():
    env = PointMass(256, seed=0)
    obs, _ = env.reset()
    ended = torch.zeros(256, dtype=torch.bool)
    succeeded = torch.zeros(256, dtype=torch.bool)
    for _ in range(100):
        obs, _, _, _, info = env.step(seeking_actions(obs["policy"]))
        first = info["_success"] & ~ended
        succeeded |= first & info["success"]
        ended |= info["_success"]
    assert ended.all()
    assert succeeded.all()


def test_observations_stay_in_their_space_and_critic_knows_more():
    env = PointMass(128, seed=0, max_episode_length=40)
    env.reset()
    generator = torch.Generator().manual_seed(0)
    for step in range(200):
        actions = torch.rand(128, 2, generator=generator) * 6 - 3
        actions[:64] = 3.0 if step % 40 < 20 else -3.0
        obs, _, _, _, info = env.step(actions)
        for each in (obs, info["final_obs"]):
            assert env.observation_space.contains({k: v.numpy() for k, v in each.items()})
            assert torch.equal(each["critic"][:, :6], each["policy"])
            distance = torch.linalg.vector_norm(each["policy"][:, 4:], dim=1)
            torch.testing.assert_close(each["critic"][:, 6], distance)


def test_corner_to_corner_is_within_the_critics_bound():
    env = env_at((-1.0, -1.0), (0.0, 0.0), (1.0, 1.0))
    obs, *_ = env.step(-torch.ones(1, 2))
    assert math.isclose(float(obs["critic"][0, 6]), 8**0.5, rel_tol=1e-6)
    assert env.observation_space.contains({k: v.numpy() for k, v in obs.items()})


def test_goals_cover_the_arena():
    obs, _ = PointMass(4096, seed=0).reset()
    goal = obs["policy"][:, :2] + obs["policy"][:, 4:]
    assert (goal.amin(0) < -0.98).all()
    assert (goal.amax(0) > 0.98).all()
    assert (goal.mean(0).abs() < 0.04).all()
    correlation = np.corrcoef(obs["policy"][:, :2].T, goal.T)
    assert np.abs(correlation - np.eye(4)).max() < 4 / 64


@pytest.mark.parametrize("position", [(-0.5, 0.5), (0.5, -0.5)])
def test_frames_show_the_state(position):
    env = env_at(position, (0.0, 0.0), (0.0, 0.0), render_mode="rgb_array")
    (frame,) = env.render()
    assert frame.dtype == np.uint8
    rows, columns = np.nonzero((frame == (50, 110, 200)).all(axis=2))
    half = frame.shape[0] / 2
    assert np.sign(columns.mean() - half) == np.sign(position[0])
    assert np.sign(half - rows.mean()) == np.sign(position[1])
