import gc

import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode

from holdstep.envs import TorchVectorEnv, check_vector_env, make
from holdstep.errors import CapabilityError, ConfigError
from holdstep.wrappers import VectorWrapper, find_wrapper


@pytest.fixture
def env():
    env = make("holdstep:CartPole", num_envs=3, device="cpu", seed=0)
    yield env
    env.close()


def test_a_wrapper_is_what_it_wraps(env):
    wrapper = VectorWrapper(VectorWrapper(env))
    assert isinstance(wrapper, gymnasium.vector.VectorWrapper)
    assert isinstance(wrapper, TorchVectorEnv)
    assert wrapper.unwrapped is env
    assert wrapper.backend_env is env.backend_env
    for name in [
        "device",
        "capabilities",
        "num_envs",
        "max_episode_length",
        "step_dt",
        "cfg",
        "is_finite_horizon",
        "observation_space",
        "single_observation_space",
        "action_space",
        "single_action_space",
    ]:
        assert getattr(wrapper, name) == getattr(env, name), name
    assert wrapper.autoreset_mode is AutoresetMode.SAME_STEP
    assert wrapper.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    check_vector_env(wrapper)


def test_clocks_and_final_obs_are_set_through_the_stack(env):
    wrapper = VectorWrapper(VectorWrapper(env))
    wrapper.reset()
    wrapper.episode_length_buf = torch.tensor([5, 6, 7])
    assert env.episode_length_buf.tolist() == [5, 6, 7]
    wrapper.final_obs_enabled = False
    assert not env.final_obs_enabled


def test_metadata_of_one_stack_does_not_show_in_another(env):
    wrapper = VectorWrapper(env)
    wrapper.metadata = dict(wrapper.metadata) | {"mine": 1}
    other = make("holdstep:CartPole", num_envs=1, device="cpu")
    assert "mine" not in env.metadata
    assert "mine" not in other.metadata


def test_close_goes_outside_in_once_and_past_failures(env):
    closed = []

    class Outer(VectorWrapper):
        def close_extras(self, **kwargs):
            closed.append("outer")
            raise OSError("disk full")

    class Inner(VectorWrapper):
        def close_extras(self, **kwargs):
            assert not env.closed  # what it flushes may still need the simulator
            closed.append("inner")

    stack = Outer(Inner(env))
    with pytest.raises(OSError, match="disk full"):
        stack.close()
    assert closed == ["outer", "inner"]
    assert env.closed
    stack.close()
    assert closed == ["outer", "inner"]


def test_a_wrapper_that_is_thrown_away_leaves_the_env_open(env):
    """Gymnasium 1.2 closes vector envs when they are collected."""
    wrapper = VectorWrapper(env)
    del wrapper
    gc.collect()
    assert not env.closed


def test_a_wrapper_flushes_even_when_the_simulator_was_closed_first(env):
    closed = []

    class Flushes(VectorWrapper):
        def close_extras(self, **kwargs):
            closed.append(True)

    stack = Flushes(env)
    env.close()
    stack.close()
    assert closed == [True]


def test_buffers_made_in_inference_mode_can_be_edited_outside_it(env):
    wrapper = VectorWrapper(env)
    with torch.inference_mode():
        buffer = wrapper.new_buffer(3, dtype=torch.int64, fill=2)
    buffer += 1  # raises for a tensor that is an inference tensor
    assert buffer.tolist() == [3, 3, 3]
    assert not buffer.is_inference()


def test_stepping_some_rows_never_bypasses_a_wrapper(env):
    class ScalesReward(VectorWrapper):
        def step(self, actions):
            obs, reward, *rest = super().step(actions)
            return obs, reward * 2, *rest

    env.reset()
    mask = torch.tensor([True, False, True])
    reward = VectorWrapper(env).step_masked(torch.zeros(3, 1), mask)[1]
    assert reward.tolist() == [1, 0, 1]
    with pytest.raises(CapabilityError, match="ScalesReward changes step"):
        ScalesReward(env).step_masked(torch.zeros(3, 1), mask)


def test_what_a_subclass_defines_is_not_overwritten(env):
    class Shorter(VectorWrapper):
        max_episode_length = 7

        @property
        def step_dt(self):
            return self.env.step_dt * 2

    wrapper = VectorWrapper(Shorter(env))
    assert wrapper.max_episode_length == 7
    assert wrapper.step_dt == env.step_dt * 2


def test_find_wrapper_gives_the_outermost_of_a_type(env):
    class Mine(VectorWrapper):
        pass

    inner = Mine(env)
    outer = Mine(VectorWrapper(inner))
    assert find_wrapper(VectorWrapper(outer), Mine) is outer
    assert find_wrapper(inner, Mine) is inner
    assert find_wrapper(env, Mine) is None


def test_only_holdstep_envs_are_wrapped():
    numpy_env = gymnasium.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync")
    with pytest.raises(ConfigError, match="adapt"):
        VectorWrapper(numpy_env)
    numpy_env.close()
