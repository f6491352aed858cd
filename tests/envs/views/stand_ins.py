"""Envs and wrappers that the tests of the views share."""

import importlib
import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector.utils import batch_space

from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import CapabilityError, MissingExtraError
from holdstep.wrappers import VectorWrapper

NUM_ENVS = 6
NUM_STEPS = 70
TIME_LIMIT = 25


def point_mass(**kwargs):
    return PointMass(NUM_ENVS, seed=0, max_episode_length=TIME_LIMIT, **kwargs)


def steering(obs):
    """Actions ``[N, 2]`` that lead even rows to their goals and odd rows to the time limit."""
    actions = (4 * obs["policy"][:, 4:] - 2 * obs["policy"][:, 2:4]).clamp(-1, 1)
    actions[1::2] *= 0.1
    return actions


def record(env, *, seed):
    """A rollout of the raw env: its first observations, its actions, and all that steps gave."""
    obs, _ = env.reset(seed=seed)
    first, actions, results = obs, [], []
    for _ in range(NUM_STEPS):
        actions.append(steering(obs))
        results.append(env.step(actions[-1].clone()))
        obs = results[-1][0]
    terminated = torch.stack([result[2] for result in results])
    truncated = torch.stack([result[3] for result in results])
    # Without both kinds of ends, and steps with none, the comparisons would say little.
    assert terminated.any()
    assert (truncated & ~terminated).any()
    assert not (terminated | truncated).any(dim=1).all()
    return first, actions, results


class NoFinalObs(CartPole):
    """A backend that loses final observations."""

    final_obs_enabled = property(
        lambda self: False, lambda self, value: self._refuse() if value else None
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._final_obs_enabled = False

    def _refuse(self):
        raise CapabilityError("NoFinalObs cannot compute final observations.")


class Unbounded(CartPole):
    """Infinite action bounds, as Isaac Lab's and mjlab's envs have; keeps the last actions."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.single_action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def step(self, actions):
        self.last_actions = actions
        return super().step(actions)


class Holding(VectorWrapper):
    """Holds row 0 still in every other step."""

    def __init__(self, env):
        super().__init__(env)
        self.num_steps = 0

    def step(self, actions):
        self.num_steps += 1
        mask = torch.ones(self.num_envs, dtype=torch.bool)
        mask[0] = self.num_steps % 2 == 0
        return self.env.step_masked(actions, mask)


class Renamed(VectorWrapper):
    """Observation groups under other names."""

    def __init__(self, env, names):
        super().__init__(env)
        self._names = names
        spaces = env.single_observation_space
        self.single_observation_space = gymnasium.spaces.Dict(
            {new: spaces[old] for old, new in names.items()}
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def _rename(self, obs):
        return {new: obs[old] for old, new in self._names.items()}

    def reset(self, **kwargs):
        obs, info = self.env.reset(**kwargs)
        return self._rename(obs), info

    def step(self, actions):
        obs, reward, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info["final_obs"] = self._rename(info["final_obs"])
        return self._rename(obs), reward, terminated, truncated, info


def check_missing_extra(monkeypatch, *, view, library, extra):
    """Import a view as if its library were not installed."""
    monkeypatch.delitem(sys.modules, view, raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"holdstep\[{extra}\]"):
        importlib.import_module(view)
    monkeypatch.delitem(sys.modules, view, raising=False)


class Corrected(CartPole):
    """Knows its observation space only at the first reset, as direct Isaac Lab tasks do."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.resets = []
        self._true_spaces = self.single_observation_space, self.observation_space
        wrong = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self.single_observation_space = gymnasium.spaces.Dict(policy=wrong, critic=wrong)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(self, *, seed=None, options=None):
        self.resets.append((seed, options))
        self.single_observation_space, self.observation_space = self._true_spaces
        return super().reset(seed=seed, options=options)
