import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from holdstep.envs import TorchVectorEnv, make
from holdstep.envs.reference import CartPole
from holdstep.errors import ConfigError, UnknownEnvError

ANGLE_LIMIT = 12 * 2 * np.pi / 360


def random_states(num, seed):
    """States all over what an episode can reach, some of them just inside the bounds."""
    rng = np.random.default_rng(seed)
    states = rng.uniform(-1, 1, size=(num, 4)) * [2.4, 8.0, ANGLE_LIMIT, 4.0]
    near = rng.random(num) < 0.2
    states[near, 0] = np.sign(states[near, 0]) * rng.uniform(2.3, 2.4, near.sum())
    return states.astype(np.float32)


def gymnasium_steps(states, actions, force_mag=None):
    """One step of Gymnasium's own env, in float64, from each state."""
    env = CartPoleEnv()
    results = []
    for row, (state, action) in enumerate(zip(states, actions, strict=True)):
        env.reset()
        env.state = state.astype(np.float64)
        if force_mag is not None:
            env.force_mag = force_mag[row]
        _, reward, terminated, _, _ = env.step(int(action))
        results.append((env.state, reward, terminated))
    next_states, rewards, terminated = zip(*results, strict=True)
    return np.array(next_states), np.array(rewards), np.array(terminated)


def step_from(states, actions):
    env = CartPole(len(states), seed=0)
    env.reset()
    env.row_buffers["state"].copy_(torch.from_numpy(states))
    _, reward, terminated, _, info = env.step(torch.from_numpy(actions.astype(np.float32))[:, None])
    return info["final_obs"]["policy"].numpy(), reward.numpy(), terminated.numpy()


def test_one_step_is_gymnasiums_from_random_states():
    states = random_states(3000, seed=0)
    choice = np.random.default_rng(1).integers(0, 2, len(states))
    expected, expected_reward, expected_terminated = gymnasium_steps(states, choice)
    got, reward, terminated = step_from(states, choice * 2 - 1)
    # float32 holds 24 bits, so 6e-8 of the value; velocities reach 8 and go through ten operations.
    np.testing.assert_allclose(got, expected, rtol=5e-7, atol=5e-7)
    np.testing.assert_array_equal(reward, expected_reward)
    margin = np.minimum(
        np.abs(np.abs(expected[:, 0]) - 2.4), np.abs(np.abs(expected[:, 2]) - ANGLE_LIMIT)
    )
    clear = margin > 1e-6  # nearer to a bound, the two precisions may disagree about the side
    np.testing.assert_array_equal(terminated[clear], expected_terminated[clear])
    assert clear.mean() > 0.99
    assert 0.02 < terminated.mean() < 0.98


def test_smaller_actions_are_smaller_forces():
    states = random_states(500, seed=2)
    actions = np.random.default_rng(3).uniform(-1, 1, len(states))
    expected, _, _ = gymnasium_steps(states, actions > 0, force_mag=10 * np.abs(actions))
    got, _, _ = step_from(states, actions)
    np.testing.assert_allclose(got, expected, rtol=5e-7, atol=5e-7)


def test_actions_beyond_the_bounds_act_as_the_bounds():
    states = random_states(50, seed=4)
    at_bound, _, _ = step_from(states, np.full(50, -1.0))
    beyond, _, _ = step_from(states, np.full(50, -7.0))
    np.testing.assert_array_equal(beyond, at_bound)


@pytest.mark.parametrize("seed", range(5))
def test_whole_episodes_are_gymnasiums(seed):
    env, theirs = CartPole(1, seed=seed), CartPoleEnv()
    obs, _ = env.reset()
    theirs.reset()
    theirs.state = obs["policy"][0].double().numpy()
    rng = np.random.default_rng(seed)
    for _ in range(500):
        choice = int(rng.integers(0, 2))
        their_obs, _, their_terminated, _, _ = theirs.step(choice)
        _, _, terminated, _, info = env.step(torch.tensor([[choice * 2.0 - 1.0]]))
        np.testing.assert_allclose(info["final_obs"]["policy"][0], their_obs, rtol=1e-4, atol=1e-4)
        assert bool(terminated[0]) == their_terminated
        if their_terminated:
            break
    assert their_terminated


def test_first_states_are_gymnasiums_distribution():
    obs, _ = CartPole(4096, seed=0).reset()
    policy = obs["policy"]
    assert policy.abs().max() <= 0.05
    assert (policy.amin(0) < -0.049).all()
    assert (policy.amax(0) > 0.049).all()
    assert (policy.mean(0).abs() < 4 * 0.1 / 12**0.5 / 64).all()


def test_observations_stay_in_their_space():
    env = CartPole(256, seed=0, max_episode_length=60)
    space, single = env.observation_space, env.single_observation_space["policy"]
    np.testing.assert_array_equal(single.high, CartPoleEnv().observation_space.high)
    env.reset()
    generator = torch.Generator().manual_seed(0)
    for step in range(400):
        # Full forces: random, with the pole's fall, against it, and one way all the time.
        actions = torch.rand(256, 1, generator=generator).mul_(2).sub_(1).sign_()
        state = env.row_buffers["state"]
        actions[:64] = state[:64, 2:3].sign()
        actions[64:128] = (state[64:128, 2:3] + 0.3 * state[64:128, 3:4]).sign()
        actions[128:160] = 1.0 if step % 50 < 25 else -1.0
        obs, _, _, _, info = env.step(actions)
        for each in (obs, info["final_obs"]):
            assert space.contains({name: value.numpy() for name, value in each.items()})


def test_balanced_pole_is_truncated_at_500_steps():
    env = CartPole(2, seed=0)
    obs, _ = env.reset()
    for step in range(1, 501):
        x, x_dot, angle, angle_dot = obs["policy"].unbind(1)
        force = 10 * angle + 2 * angle_dot + 0.3 * x + 0.5 * x_dot
        obs, reward, terminated, truncated, info = env.step(force.clamp(-1, 1).unsqueeze(1))
        assert reward.tolist() == [1.0, 1.0]
        assert not terminated.any()
        assert truncated.tolist() == [step == 500] * 2
    assert info["final_obs"]["critic"][:, 4].tolist() == [0.0, 0.0]
    assert obs["critic"][:, 4].tolist() == [1.0, 1.0]


def test_critic_is_the_policy_observation_and_the_time_left():
    env = CartPole(3, seed=0, max_episode_length=10)
    obs, _ = env.reset()
    for step in range(1, 5):
        obs, *_ = env.step(torch.zeros(3, 1))
        assert torch.equal(obs["critic"][:, :4], obs["policy"])
        torch.testing.assert_close(obs["critic"][:, 4], torch.full((3,), 1 - step / 10))


def test_make_by_id():
    env = make("holdstep:CartPole", num_envs=3, device="cpu", seed=0, max_episode_length=7)
    assert isinstance(env, CartPole)
    assert (env.num_envs, env.max_episode_length, env.step_dt) == (3, 7, 0.02)
    again = make("holdstep:CartPole", num_envs=3, device="cpu", seed=0, max_episode_length=None)
    assert again.max_episode_length == 500
    assert torch.equal(env.reset()[0]["policy"], again.reset()[0]["policy"])


def test_make_refuses_what_it_does_not_know():
    with pytest.raises(UnknownEnvError, match="CartPole"):
        make("holdstep:Cartpole2", device="cpu")
    with pytest.raises(ConfigError, match="max_episode_length"):
        make("holdstep:CartPole", device="cpu", max_episode_len=5)
    for limit in (0, 1.5, True):
        with pytest.raises(ConfigError, match="max_episode_length"):
            make("holdstep:CartPole", device="cpu", max_episode_length=limit)
    with pytest.raises(ConfigError, match="render_mode"):
        make("holdstep:CartPole", device="cpu", render_mode="human")


def test_gymnasium_makes_it():
    env = gymnasium.make_vec("holdstep/CartPole-v0", num_envs=4, max_episode_length=9)
    assert isinstance(env, TorchVectorEnv)
    assert env.max_episode_length == 9
    obs, _ = env.reset(seed=1)
    assert torch.equal(obs["policy"], CartPole(4, seed=1).reset()[0]["policy"])


def test_importing_holdstep_registers_and_does_not_import_torch():
    code = (
        "import sys, gymnasium, holdstep\n"
        "assert 'holdstep/CartPole-v0' in gymnasium.registry\n"
        "assert 'holdstep/PointMass-v0' in gymnasium.registry\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_frames_show_the_state():
    env = CartPole(2, seed=0, render_mode="rgb_array")
    assert env.capabilities.render
    env.reset()
    env.row_buffers["state"].copy_(torch.tensor([[-1.0, 0, 0, 0], [1.0, 0, 0.2, 0]]))
    left, right = env.render()
    assert left.dtype == np.uint8
    assert left.shape == right.shape == (160, 240, 3)

    def center_of_cart(frame):
        blue = (frame == (70, 90, 120)).all(axis=2)
        return np.flatnonzero(blue.any(axis=0)).mean()

    assert center_of_cart(left) < 100 < 140 < center_of_cart(right)
    assert env.render()[0] is not left
