"""Isaac Lab 3.0's direct workflow, exported: assets are seen, markers say the rest."""

from __future__ import annotations

import pytest
import torch

from holdstep.errors import DiscoveryError
from holdstep.wrappers.export.export import export_policy
from holdstep.wrappers.export.markers import reads, recalls, remembers
from holdstep.wrappers.export.pipeline import build_pipeline
from tests.isaaclab.conftest import silenced
from tests.isaaclab.hard_tasks import CARTPOLE_DIRECT
from tests.wrappers.export.pipeline_tools import FlatPolicy, Rollout
from tests.wrappers.export.test_pipeline_leaks import scripted, torch_state


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def marked(task_class):
    """A task whose cached state is marked, and which smooths its actions."""

    class Marked(task_class):
        def _get_observations(self):
            own = self.joint_pos, self.joint_vel
            # The task keeps what it read in attributes of its own, where nobody sees it.
            self.joint_pos = reads("state:cartpole:joint_pos", own[0])
            self.joint_vel = reads("state:cartpole:joint_vel", own[1], unit="rad/s or m/s")
            observations = super()._get_observations()
            self.joint_pos, self.joint_vel = own
            return observations

        def _pre_physics_step(self, actions):
            self.smooth = getattr(self, "smooth", torch.zeros_like(actions))
            smooth = 0.5 * actions + 0.5 * recalls("memory:smooth", self.smooth)
            self.smooth = remembers("memory:smooth", smooth)
            super()._pre_physics_step(smooth)

        def _reset_idx(self, env_ids):
            super()._reset_idx(env_ids)
            if hasattr(self, "smooth"):
                self.smooth[env_ids] = 0.0

    return Marked


@pytest.fixture
def new_env(make_env, monkeypatch):
    def make_one(*, markers=True):
        from isaaclab_tasks.direct.cartpole import cartpole_env

        if markers:
            monkeypatch.setattr(cartpole_env, "CartpoleEnv", marked(cartpole_env.CartpoleEnv))
        env = make_env(CARTPOLE_DIRECT, num_envs=3)
        with silenced():
            env.reset(seed=1)
            env.reset(seed=2)  # the first reset differs from later ones
        return env

    return make_one


def test_fifty_steps_with_resets(new_env):
    env = new_env()
    with build_pipeline(env, FlatPolicy(env, ["policy"])) as pipeline:
        assert Rollout(env, pipeline).run(50) == 0.0
        assert pipeline.purity().passed
        contract = pipeline.contract
    inputs = {spec.connection: spec for spec in contract.inputs}
    assert list(inputs) == ["state:cartpole:joint_pos", "state:cartpole:joint_vel"]
    joint_pos = inputs["state:cartpole:joint_pos"]
    # What the marker leaves out, the table of the asset's class says.
    assert joint_pos.kind == "joint_position"
    assert len(joint_pos.element_names) == 2
    (write,) = contract.writes
    assert write.connection.startswith("write:cartpole:set_joint_effort_target")
    assert len(write.element_names) == 1
    assert write.element_names[0] in joint_pos.element_names
    assert [memory.spec.connection for memory in contract.memories] == ["memory:smooth"]


def test_the_ladder_passes_and_leaves_nothing(new_env, tmp_path):
    env = new_env()
    backend = env.unwrapped.backend_env
    env.step(torch.zeros(env.action_space.shape))  # which makes attributes of the task's own
    before = scripted(), torch_state()["jit"], type(backend), set(vars(backend))
    with silenced():
        report = export_policy(
            env, FlatPolicy(env, ["policy"]), tmp_path / "out", backend="torch", method="jit-trace"
        )
    assert report.parity.max_abs_diff == 0.0
    assert (scripted(), torch_state()["jit"], type(backend), set(vars(backend))) == before


def test_without_markers_the_cached_state_is_named(new_env):
    env = new_env(markers=False)
    with pytest.raises(
        DiscoveryError,
        match=r"env\.joint_pos \[3, 2\], used in _get_observations \(cartpole_env\.py:\d+\)",
    ):
        build_pipeline(env, FlatPolicy(env, ["policy"]))
