"""Export and deployment on Isaac Lab 2.3.2's own managers, assets and scene.

What stands in for PhysX is MuJoCo, behind the interface of PhysX's views: quaternions, velocities
and the order of joints are converted by Isaac Lab's own code, as over PhysX.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from pathlib import Path

import pytest
import torch

from holdstep.envs import DeploymentEnv, IsaacLabHost, adapt
from holdstep.errors import BackendUnavailableError, ConfigError, HostMismatchError
from holdstep.wrappers.export.contract import Contract, TensorSpec
from holdstep.wrappers.export.contract_file import read_contract, write_contract
from holdstep.wrappers.export.export import export_policy
from holdstep.wrappers.export.pipeline import build_pipeline
from tests.envs.deployment.recorded_export import NUM_STEPS, WRITE, record
from tests.isaaclab23.rollouts import (
    MANAGER_BASED_ID,
    ignore_failed_destructor,
    ignore_jit_warning,
)
from tests.wrappers.export.pipeline_tools import FlatPolicy, Rollout

pytestmark = ignore_jit_warning
ROWS = 2
OWN_WRITE = "write:robot:set_joint_position_target"


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A policy from mjlab, and the model of the robot that it was made for."""
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    out = tmp_path_factory.mktemp("mjlab") / "go1"
    return record(out, "onnx-torchscript", python=Path(sys.executable))


@pytest.fixture
def robot_cfg(standins, recorded):
    module = importlib.import_module(f"{__name__.rpartition('.')[0]}.mujoco_robot")
    return lambda **options: module.robot_cfg(
        recorded.folder / "robot.mjb", **({"num_envs": ROWS} | options)
    )


@pytest.fixture
def make_robot(standins, robot_cfg):
    """Adapted envs of the robot."""
    with contextlib.ExitStack() as stack:

        def make_one():
            with contextlib.redirect_stdout(io.StringIO()):
                env = adapt(standins.tasks.make_manager_based(robot_cfg()))
            stack.callback(env.close)
            env.reset(seed=1)
            return env

        yield make_one


@pytest.fixture
def make_host(standins, robot_cfg):
    with contextlib.ExitStack() as stack:

        def make_one(**options):
            cfg = options.pop("cfg", None) or robot_cfg()
            with standins.fake_scene.fake_simulation():
                host = IsaacLabHost(cfg=cfg, **({"num_envs": ROWS} | options))
            stack.callback(host.close)
            return host

        yield make_one


def test_the_pipeline_equals_the_managers_of_a_task_with_commands(make_env):
    env = adapt(make_env(MANAGER_BASED_ID, num_envs=3))
    env.reset(seed=0)
    with build_pipeline(env, FlatPolicy(env, ["policy"])) as pipeline:
        assert Rollout(env, pipeline).run(50) == 0.0
        assert pipeline.purity().passed
        assert pipeline.contract.simulator == "isaaclab"
        assert "command:cart_target" in [spec.connection for spec in pipeline.contract.inputs]
        (target,) = pipeline.contract.writes
        assert (target.connection, target.shape) == ("write:robot:set_joint_effort_target", (1,))


def test_what_the_robot_is_told_is_described(make_robot, tmp_path):
    env = make_robot()
    report = export_policy(
        env,
        FlatPolicy(env, ["policy"]),
        tmp_path / "out",
        backend="torch",
        method="jit-trace",
        num_steps=30,
    )
    assert report.passed
    assert report.parity.max_abs_diff == 0.0
    inputs = {spec.connection: spec for spec in report.contract.inputs}
    quat = inputs["state:robot:root_quat_w"]
    assert (quat.quaternion_order, quat.element_names) == ("wxyz", ("w", "x", "y", "z"))
    assert inputs["state:robot:projected_gravity_b"].frame == "body"
    joints = inputs["state:robot:joint_pos"]
    assert joints.unit == "rad"
    assert len(joints.element_names) == 12
    assert not [warning for warning in report.warnings if "no semantics table" in warning]
    (actuator,) = report.contract.actuators
    assert (actuator.stiffness[0], actuator.damping[0]) == (25.0, 0.5)


def test_it_moves_the_robot_as_the_managers_do(make_robot, make_host, tmp_path):
    env = make_robot()
    policy = FlatPolicy(env, ["policy"])
    export_policy(env, policy, tmp_path / "out", backend="torch", method="jit-trace", num_steps=4)
    obs, _ = env.reset(seed=4)
    asset = env.backend_env.scene["robot"]
    start = [(data.qpos.copy(), data.qvel.copy()) for data in asset.physics.datas]
    positions = []
    for _ in range(10):
        obs, *_ = env.step(policy(obs))
        positions.append(asset.data.joint_pos.clone())
    env.close()
    host = make_host()
    with DeploymentEnv(host, tmp_path / "out", allow_jit=True) as deployed:
        deployed.reset()
        robot = host.env.scene["robot"]
        for data, (position, velocity) in zip(robot.physics.datas, start, strict=True):
            data.qpos[:], data.qvel[:] = position, velocity
        robot.physics._forward()
        robot.data._sim_timestamp += 1e-6  # what was read of the state before is out of date
        for step, expected in enumerate(positions):
            deployed.step()
            assert float((robot.data.joint_pos - expected).abs().max()) <= 1e-6, step
        assert float((positions[-1] - positions[0]).abs().max()) > 0.05  # something moved


def test_a_policy_from_mjlab_writes_the_same_in_the_same_states(recorded, make_host):
    host = make_host()
    joints = host.entities["robot"].joint_names
    assert sorted(joints) == sorted(recorded.joint_names)
    assert joints != recorded.joint_names
    robot = host.env.scene["robot"]
    with DeploymentEnv(host, recorded.folder, num_envs=ROWS) as env:
        assert not any("quaternions" in note for note in env.notes)  # both w, x, y, z
        assert sum("reordered by name" in note for note in env.notes) == 3
        env.set_command("twist", recorded.commands[0])
        env.reset()
        for step in range(NUM_STEPS):
            state = recorded.state(step, joints)
            env.set_command("twist", recorded.commands[step])
            robot.write_root_link_pose_to_sim(
                torch.cat([state["pos"] + host.env.scene.env_origins, state["quat"]], dim=1)
            )
            robot.write_root_link_velocity_to_sim(
                torch.cat([state["lin_vel"], state["ang_vel"]], dim=1)
            )
            robot.write_joint_state_to_sim(state["joint_pos"], state["joint_vel"])
            outputs = env.step()
            own_order = recorded.target(step, recorded.joint_names)
            assert torch.allclose(outputs[WRITE], own_order, atol=1e-5), step
            expected = recorded.target(step, joints)
            assert torch.allclose(robot.data.joint_pos_target, expected, atol=1e-5), step


def test_quaternions_of_isaac_lab_3_are_converted(make_host, tmp_path):
    host = make_host()
    seen = []

    class Look:
        def step(self, inputs):
            seen.append(inputs["state:robot:root_quat_w"])
            return {OWN_WRITE: torch.full((ROWS, 1), 0.3)}

        def reset(self, env_ids=None):
            pass

    joint = host.entities["robot"].joint_names[3:4]
    contract = Contract(
        version=1,
        task="Isaac-Any-v0",
        simulator="isaaclab",
        created_with={},
        step_dt=0.02,
        physics_dt=0.005,
        decimation=4,
        traced_num_envs=1,
        inputs=(TensorSpec.of("state:robot:root_quat_w", (4,), quaternion_order="xyzw"),),
        memories=(),
        outputs=(TensorSpec.of(OWN_WRITE, (1,), unit="rad", element_names=joint),),
    )
    write_contract(contract, tmp_path)
    with DeploymentEnv(host, tmp_path, runner=Look()) as env:
        assert any("quaternions converted, wxyz and xyzw" in note for note in env.notes)
        env.reset()
        data = host.env.scene["robot"].data
        own = data.root_quat_w.clone()
        env.step()
        assert torch.equal(data.joint_pos_target == 0.3, torch.arange(12).expand(ROWS, 12) == 3)
    assert torch.equal(seen[0], own[:, [1, 2, 3, 0]])
    assert float(own[:, 3].abs().max()) > 0.1  # they are turned about z


def test_partial_resets_leave_other_rows_alone(recorded, make_host):
    host = make_host()
    with DeploymentEnv(host, recorded.folder, commands={"twist": [0.5, 0.0, 0.0]}) as env:
        env.reset()
        for _ in range(3):
            env.step()
        datas = host.env.scene["robot"].physics.datas
        before = [data.qpos.copy() for data in datas]
        env.reset([1])
        assert (datas[0].qpos == before[0]).all()
        assert not (datas[1].qpos == before[1]).all()
        assert env.episode_length_buf.tolist() == [3, 0]


def test_what_does_not_fit_is_listed(recorded, make_host):
    contract = read_contract(recorded.folder)
    host = make_host(overrides={"sim.dt": 0.002})
    with pytest.raises(HostMismatchError) as caught:
        DeploymentEnv(
            host,
            recorded.folder,
            num_envs=5,
            rename_elements={"FR_hip_joint": "tail"},
        )
    text = str(caught.value)
    assert "physics_dt: the contract has 0.005 s, isaaclab has 0.002 s" in text
    assert "num_envs: 5 rows were asked for, isaaclab has 2" in text
    assert "missing at the host: tail" in text
    assert contract.task.endswith("Go1")


@ignore_failed_destructor
def test_one_scene_at_a_time_no_presets_and_closing_makes_room(make_host):
    with pytest.raises(ConfigError, match=r"Isaac Lab 2\.3\.2 has no presets"):
        make_host(presets="newton_mjwarp")
    host = make_host()
    with pytest.raises(BackendUnavailableError, match="Another Isaac Lab env or host is open"):
        make_host()
    host.close()
    host.close()
    make_host()


def test_the_robot_is_isaac_labs_own_class(make_host):
    robot = make_host().env.scene["robot"]
    classes = [cls for cls in type(robot).__mro__ if cls.__module__.startswith("isaaclab.")]
    assert classes[0].__name__ == "Articulation"
    assert type(robot.data).__module__ == "isaaclab.assets.articulation.articulation_data"
