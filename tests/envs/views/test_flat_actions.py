"""Chunks as vectors, and back."""

import gymnasium
import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.envs.views.flat_actions import FlatActions
from holdstep.wrappers import ActionChunkReplay, SuspendOnWait


class WithSpace:
    """An env, as far as its action space goes."""

    def __init__(self, space, num_envs=2):
        self.num_envs = num_envs
        self.single_action_space = space
        self.action_space = gymnasium.vector.utils.batch_space(space, num_envs)


LOW = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.mark.parametrize(
    ("space", "flat"),
    [
        (
            gymnasium.spaces.Box(LOW, LOW + 10, dtype=np.float32),
            gymnasium.spaces.Box(LOW.ravel(), LOW.ravel() + 10, dtype=np.float32),
        ),
        (
            gymnasium.spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [2, 3]]),
            gymnasium.spaces.MultiDiscrete([2, 3, 4, 5], start=[0, 1, 2, 3]),
        ),
        (gymnasium.spaces.MultiBinary([3, 2]), gymnasium.spaces.MultiBinary(6)),
    ],
)
def test_several_dimensions_become_one(space, flat):
    env = WithSpace(space)
    flattened = FlatActions(env)
    assert flattened.space == flat
    sample = torch.as_tensor(env.action_space.sample())
    again = flattened.restore(sample.reshape(2, -1))
    assert torch.equal(again, sample)
    assert again.dtype == sample.dtype


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Box(-1, 1, (3,), np.float32),
        gymnasium.spaces.Discrete(3),
        gymnasium.spaces.MultiDiscrete([2, 3]),
    ],
)
def test_at_most_one_dimension_stays(space):
    env = WithSpace(space)
    flattened = FlatActions(env)
    assert flattened.space is space
    sample = torch.as_tensor(env.action_space.sample())
    assert torch.equal(flattened.restore(sample), sample)


def test_the_first_action_of_a_chunk_comes_first():
    env = make("holdstep:PointMass", num_envs=4, device="cpu", seed=0)
    env = ActionChunkReplay(SuspendOnWait(env), 3)
    chunks = FlatActions(env).restore(torch.arange(24.0).reshape(4, 6))
    assert chunks[1].tolist() == [[6.0, 7.0], [8.0, 9.0], [10.0, 11.0]]


def test_what_has_another_shape_is_left_to_the_env():
    env = WithSpace(gymnasium.spaces.Box(-1, 1, (3, 2), np.float32))
    actions = torch.zeros(6, 2)
    assert FlatActions(env).restore(actions) is actions
