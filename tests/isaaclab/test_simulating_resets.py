"""Direct tasks that simulate within their resets, as Isaac Lab's Factory tasks do."""

from __future__ import annotations

import warnings

import pytest
import torch

from holdstep.envs.adapters.isaaclab.simulating_resets import SimulatingResetsWarning
from holdstep.errors import CapabilityError
from holdstep.wrappers import SuspendOnWait
from tests.isaaclab.conftest import silenced
from tests.isaaclab.hard_tasks import CARTPOLE_DIRECT

SAID = "simulates within its resets: 3 physics steps of all rows"


@pytest.fixture
def new_env(make_env, monkeypatch):
    """Makes envs whose resets simulate; rows end after eight steps."""
    from isaaclab_tasks.direct.cartpole import cartpole_env

    task = cartpole_env.CartpoleEnv

    class Settling(task):
        def _get_dones(self):
            time_out = super()._get_dones()[1]
            return torch.zeros_like(time_out), time_out

        def _reset_idx(self, env_ids):
            super()._reset_idx(env_ids)
            for _ in range(3):
                self.scene.write_data_to_sim()
                self.sim.step(render=False)
                self.scene.update(dt=self.physics_dt)
            self.start = torch.zeros(self.num_envs, 2)
            self.start[:] = torch.rand(len(env_ids), 2)  # of all rows, it supposes

    def make_one(task_class=Settling):
        with monkeypatch.context() as patch:
            patch.setattr(cartpole_env, "CartpoleEnv", task_class)
            env = make_env(CARTPOLE_DIRECT, episode_length_s=8 / 60)
        with silenced():
            env.reset(seed=0)
        return env

    make_one.plain = task
    return make_one


def steps(env, count):
    """Step without a force, and count the episodes that end."""
    return sum(int(env.step(torch.zeros(4, 1))[3].sum()) for _ in range(count))


def test_rows_in_step_are_not_spoken_of(new_env):
    env = SuspendOnWait(new_env())
    with warnings.catch_warnings():
        warnings.simplefilter("error", SimulatingResetsWarning)
        env.reset(seed=1)
        assert steps(env, 20) == 8
        env.suspend(range(4))
        env.resume(range(4))


def test_some_rows_are_not_reset_alone(new_env):
    env = new_env()
    before = env.episode_length_buf.clone(), env.step(torch.zeros(4, 1))[0]["policy"].clone()
    with pytest.raises(CapabilityError, match=SAID):
        env.reset(options={"env_ids": [1]})
    assert torch.equal(env.episode_length_buf, before[0] + 1)


def test_held_rows_are_warned_about_and_the_error_that_follows_is_explained(new_env):
    env = SuspendOnWait(new_env())
    env.reset(seed=1)
    with pytest.warns(SimulatingResetsWarning, match=SAID):
        env.suspend([2])
    steps(env, 1)
    env.resume([2])
    with pytest.raises(CapabilityError, match=rf"{SAID}.* Now 3 of 4 rows .*expanded size"):
        steps(env, 8)


def test_other_tasks_are_left_alone(new_env):
    env = new_env(new_env.plain)
    assert env.simulating_resets.why_not_alone is None
    with silenced():
        env.reset(options={"env_ids": [1]})
    env.close()
    assert "_reset_idx" not in vars(env.backend_env)
