"""The pipeline against the live managers and policy, beyond what each export checks by itself.

That every task and kind of policy is equal over many steps is in test_export_matrix.
"""

from __future__ import annotations

import pytest
import torch

from holdstep.policies import RslRlPolicy
from holdstep.wrappers.export.pipeline import build_pipeline
from tests.wrappers.export.pipeline_tools import (
    CARTPOLE,
    GO1,
    LIFT,
    TRACKING,
    FlatPolicy,
    Rollout,
    export_env,
    rsl_actor,
    write_motion,
)

TASKS = [CARTPOLE, GO1, LIFT, TRACKING]


@pytest.fixture(scope="module")
def envs(tmp_path_factory):
    """Envs by task, each made when it is first asked for."""
    made = {}

    def get(task):
        if task not in made:
            kwargs = {}
            if task == TRACKING:
                motion = write_motion(tmp_path_factory.mktemp("motion") / "motion.npz")
                kwargs = {"commands.motion.motion_file": str(motion), "sim.nconmax": 100}
            made[task] = export_env(task, **kwargs)
        return made[task]

    yield get
    for env in made.values():
        env.close()


@pytest.fixture(autouse=True)
def _no_grad():
    # Kernels for recurrent networks differ with and without gradients, in the last bit.
    with torch.no_grad():
        yield


@pytest.mark.parametrize("task", [GO1, LIFT])
def test_targets_are_what_the_simulator_got(envs, task):
    # The reference runs the managers on copies; this is what a real step wrote.
    env = envs(task)
    robot = env.unwrapped.backend_env.scene["robot"]
    with build_pipeline(env, rsl_actor(env)) as pipeline:
        rollout = Rollout(env, pipeline)
        (write,) = pipeline.contract.writes
        ids = [robot.joint_names.index(name) for name in write.element_names]
        for _ in range(10):
            written = {}
            apply = robot.write_data_to_sim

            def spy(apply=apply, written=written):
                written.setdefault("target", robot.data.joint_pos_target[:, ids].clone())
                apply()

            robot.write_data_to_sim = spy
            try:
                outputs, _ = rollout.step()
            finally:
                del robot.write_data_to_sim
            assert torch.equal(outputs[write.connection], written["target"])


def test_a_step_that_resets_by_itself(envs):
    env = envs(GO1)
    with build_pipeline(env, rsl_actor(env, "gru")) as pipeline:
        rollout = Rollout(env, pipeline)
        for index in range(12):
            if index == 5:
                env.unwrapped.episode_length_buf[1] = env.max_episode_length - 1
            rollout.step()
        assert max(rollout.worst.values()) == 0.0


def test_an_rsl_rl_policy_with_clipped_actions(envs):
    env = envs(CARTPOLE)
    policy = RslRlPolicy(rsl_actor(env, seed=3), num_envs=env.num_envs, clip_actions=0.01)
    with build_pipeline(env, policy) as pipeline:
        rollout = Rollout(env, pipeline)
        outputs, _ = rollout.step()
        assert outputs["action"].abs().max() <= 0.01
        assert rollout.run(10) == 0.0


def test_any_callable_and_a_single_group(envs):
    env = envs(CARTPOLE)
    weight = torch.randn(5, 1)
    with build_pipeline(env, lambda obs: obs["actor"] @ weight) as pipeline:
        assert Rollout(env, pipeline).run(10) == 0.0
    network = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    with build_pipeline(env, network, obs_keys="actor") as pipeline:
        assert Rollout(env, pipeline).run(10) == 0.0
        assert pipeline.plan.groups == ("actor",)


def test_rows_are_computed_alike_whatever_their_number(envs):
    env = envs(GO1)
    with build_pipeline(env, rsl_actor(env, "gru"), num_envs=1) as pipeline:
        example = pipeline.example_inputs()
        assert {len(tensor) for tensor in example} == {1}
        many = [tensor.repeat(5, *[1] * (tensor.ndim - 1)) for tensor in example]
        for one, five in zip(pipeline.module(*example), pipeline.module(*many), strict=True):
            assert torch.allclose(one.expand_as(five), five, atol=1e-6)


def test_observations_are_those_of_the_env(envs):
    # What the policy saw is compared too, not only what came of it.
    env = envs(LIFT)
    seen = []

    class Spy(FlatPolicy):
        def forward(self, obs):
            seen.append(obs["actor"].clone())
            return super().forward(obs)

        def __deepcopy__(self, memo):
            return self

    with build_pipeline(env, Spy(env, ["actor"])) as pipeline:
        rollout = Rollout(env, pipeline)
        for _ in range(5):
            seen.clear()
            _, reference = rollout.step(reset_rows=[1])
            assert torch.equal(seen[0], reference.obs["actor"])


def test_the_contract_says_what_is_read_and_written(envs):
    env = envs(GO1)
    with build_pipeline(env, rsl_actor(env)) as pipeline:
        contract = pipeline.contract
    inputs = {spec.connection: spec for spec in contract.inputs}
    assert list(inputs) == [
        "sensor:robot/imu_lin_vel:data",
        "sensor:robot/imu_ang_vel:data",
        "state:robot:projected_gravity_b",
        "state:robot:joint_pos_biased",
        "state:robot:joint_vel",
        "command:twist",
    ]
    assert inputs["sensor:robot/imu_ang_vel:data"].unit == "rad/s"
    assert inputs["state:robot:joint_vel"].unit == "rad/s"
    assert len(inputs["state:robot:joint_vel"].element_names) == 12
    assert inputs["command:twist"].element_names == ("vx", "vy", "wz")
    assert [memory.spec.connection for memory in contract.memories] == ["memory:last_action"]
    (write,) = contract.writes
    assert write.connection == "write:robot:set_joint_position_target"
    assert write.element_names == inputs["state:robot:joint_vel"].element_names
    assert contract.decimation == 4
    assert [term.name for term in contract.observation_terms][:2] == [
        "base_lin_vel",
        "base_ang_vel",
    ]
    (action,) = contract.action_terms
    assert action.joint_names == write.element_names
    assert len(action.scale) == len(action.offset) == 12


def test_commands_are_inputs_by_attribute(envs):
    env = envs(TRACKING)
    with build_pipeline(env, rsl_actor(env)) as pipeline:
        inputs = {spec.connection: spec for spec in pipeline.contract.inputs}
    # The robot's own state, which the command term hands on, is the robot's.
    assert "state:robot:body_link_pos_w" in inputs
    assert not any(name.startswith("command:motion:robot_") for name in inputs)
    assert {"command:motion", "command:motion:anchor_pos_w"} <= set(inputs)
    assert inputs["command:motion:anchor_quat_w"].quaternion_order == "wxyz"


def test_units_follow_from_the_joints(envs):
    env = envs(CARTPOLE)
    with build_pipeline(env, rsl_actor(env)) as pipeline:
        inputs = {spec.connection: spec for spec in pipeline.contract.inputs}
        (write,) = pipeline.contract.writes
    assert inputs["state:cartpole:joint_pos"].unit == "rad or m"
    assert write.element_names == ("slider",)
    assert write.unit == "N"
