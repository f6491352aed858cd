"""Tasks that train a network as they observe, as Isaac Lab's in-hand task with a camera does."""

from __future__ import annotations

import pytest
import torch

from holdstep.envs.adapters.isaaclab.learners import LearningTaskWarning
from holdstep.wrappers import SuspendOnWait
from tests.isaaclab.conftest import trajectory
from tests.isaaclab.hard_tasks import CARTPOLE_DIRECT


class Estimator:
    """Predicts where the pole is from its velocity, and fits that each time it is asked."""

    __module__ = "another_package.estimator"  # not the env's

    def __init__(self):
        torch.manual_seed(0)
        self.network = torch.nn.Linear(2, 2)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.1)
        self.step_count = 0

    def step(self, obs):
        with torch.inference_mode(False), torch.enable_grad():
            self.optimizer.zero_grad()
            predicted = self.network(obs[:, [1, 3]].clone())
            torch.nn.functional.mse_loss(predicted, obs[:, [0, 2]].clone()).backward()
            self.optimizer.step()
        self.step_count += 1
        return predicted.detach()


@pytest.fixture
def new_env(make_env, monkeypatch):
    def make_one():
        from isaaclab_tasks.direct.cartpole import cartpole_env

        task = cartpole_env.CartpoleEnv

        class Learning(task):
            def _get_observations(self):
                if not hasattr(self, "estimator"):
                    self.estimator = Estimator()
                obs = super()._get_observations()["policy"]
                return {"policy": obs, "estimate": self.estimator.step(obs)}

        with monkeypatch.context() as patch:
            patch.setattr(cartpole_env, "CartpoleEnv", Learning)
            return make_env(CARTPOLE_DIRECT)

    return make_one


def test_final_observations_teach_it_nothing(new_env):
    runs, taught = [], []
    for enabled in (True, False):
        env = new_env()
        env.final_obs_enabled = enabled
        runs.append(trajectory(env, 20, episode_steps=8))
        taught.append(env.backend_env.estimator.step_count)
        env.close()
    num_ended = 0
    for (_, obs, *_, terminated, truncated, _info), (_, plain_obs, *_) in zip(*runs, strict=True):
        num_ended += int((terminated | truncated).sum())
        assert torch.equal(obs["policy"], plain_obs["policy"])
        assert torch.equal(obs["estimate"], plain_obs["estimate"])
    assert num_ended >= 4
    assert taught[0] == taught[1]


def test_what_holding_its_rows_cannot_promise_is_said(new_env):
    env = new_env()
    trajectory(env, 1, episode_steps=None)
    with pytest.warns(LearningTaskWarning, match=r"trains a network .*env\.estimator, a Estimator"):
        SuspendOnWait(env)
