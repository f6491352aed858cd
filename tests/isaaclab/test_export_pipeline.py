"""The export pipeline on Isaac Lab 3.0's managers: equal to them, and without a trace."""

from __future__ import annotations

import pytest
import torch

from holdstep.wrappers.export.pipeline import build_pipeline
from tests.isaaclab.conftest import silenced
from tests.isaaclab.hard_tasks import ANT, CARTPOLE, GO2, busy
from tests.wrappers.export.pipeline_tools import FlatPolicy, Rollout
from tests.wrappers.export.test_pipeline_leaks import scripted, torch_state


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def reset_twice(env):
    """The first reset of an Isaac Lab 3 env differs from later ones."""
    with silenced():
        env.reset(seed=1)
        env.reset(seed=2)


@pytest.mark.parametrize("task", [CARTPOLE, ANT])
def test_fifty_steps_with_resets(make_env, task):
    env = make_env(task, num_envs=3)
    reset_twice(env)
    env.step(torch.zeros(env.action_space.shape))
    with build_pipeline(env, FlatPolicy(env, ["policy"])) as pipeline:
        assert Rollout(env, pipeline).run(50) == 0.0
        assert pipeline.purity().passed
        assert not [w for w in pipeline.warnings if "no semantics table" in w]


def test_histories_commands_and_noise(make_env):
    from holdstep.envs.adapters.isaaclab import tasks

    cfg = tasks.with_presets(tasks.load_env_cfg(GO2), None)
    busy(cfg)
    env = make_env(GO2, num_envs=3, cfg=cfg)
    reset_twice(env)
    env.step(torch.zeros(env.action_space.shape))
    before = scripted(), torch_state()["jit"]
    with build_pipeline(env, FlatPolicy(env, ["policy"])) as pipeline:
        assert Rollout(env, pipeline).run(20) == 0.0
        inputs = {spec.connection: spec for spec in pipeline.contract.inputs}
        joints = inputs["state:robot:joint_pos"].element_names
        assert joints is not None
        assert len(joints) == 12
        assert "command:base_velocity" in inputs
        assert inputs["state:robot:projected_gravity_b"].frame == "body"
        (write,) = pipeline.contract.writes
        assert write.connection.startswith("write:robot:set_joint_position_target")
        assert set(write.element_names) == set(joints)
        assert {m.kind for m in pipeline.contract.memories} == {
            "history",
            "counter",
            "last_action",
        }
    assert (scripted(), torch_state()["jit"]) == before
