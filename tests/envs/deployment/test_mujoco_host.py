"""Plain MuJoCo: what is read from it, and how targets drive it."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from holdstep.envs import MujocoHost
from holdstep.envs.deployment.host import NotAtHostError
from holdstep.errors import ConfigError, HostError, HostMismatchError
from holdstep.wrappers.export.connections import Connection
from holdstep.wrappers.export.contract import Actuator, TensorSpec
from tests.envs.deployment.robots import (
    JOINTS,
    MOTOR,
    POSITION,
    Runner,
    arm,
    arm_contract,
    deploy_arm,
    host_of,
    torques_of,
)

mujoco = pytest.importorskip("mujoco", reason="the extra 'mujoco' is not installed")


@pytest.fixture
def deploy(tmp_path):
    return functools.partial(deploy_arm, tmp_path)


def test_joints_are_read_and_written_by_name(deploy):
    env = deploy(host_of())
    assert env.host.data.qpos[7:].tolist() == [0.3, -0.4]  # the keyframe
    env.step()
    # The contract's order is elbow, shoulder; the model's the other way round.
    assert env.host.data.ctrl.tolist() == [-0.25, 0.5]
    for _ in range(300):
        env.step()
    assert env.host.data.qpos[7:].tolist() == pytest.approx([-0.25, 0.5], abs=1e-2)
    read = env._readers["state:robot:joint_pos"]()
    assert read[0].tolist() == pytest.approx(env.host.data.qpos[[8, 7]].tolist())


def test_a_reset_goes_back_to_the_keyframe_or_where_the_user_says(deploy):
    env = deploy(host_of())
    for _ in range(5):
        env.step()
    env.reset()
    assert env.host.data.qpos.tolist() == [0, 0, 1, 1, 0, 0, 0, 0.3, -0.4]
    assert env.host.data.time == 0

    def place(model, data):
        data.qpos[7] = 1.25

    env = deploy(host_of(on_reset=place, keyframe="bent"))
    assert env.host.data.qpos[7] == 1.25
    assert env._readers["state:robot:joint_pos"]()[0, 1] == 1.25
    with pytest.raises(ConfigError, match="no keyframe 'upright'; it has bent"):
        host_of(keyframe="upright")


@pytest.mark.parametrize("motors", [MOTOR, POSITION, ""])
def test_explicit_actuators_follow_their_own_law_whatever_motors_there_are(deploy, motors):
    actuator = Actuator(
        "robot", ("elbow", "shoulder"), "explicit", (30.0, 50.0), (2.0, 1.0), (3.0, 9.0)
    )
    env = deploy(host_of(motors), arm_contract(actuator=actuator), Runner((0.5, -0.25)))
    clipped = 0
    for position, velocity, torque in torques_of(env):
        wanted = np.array([50.0, 30.0]) * ([-0.25, 0.5] - position) - [1.0, 2.0] * velocity
        limited = np.clip(wanted, [-9.0, -3.0], [9.0, 3.0])
        clipped += int((wanted != limited).any())
        assert torque == pytest.approx(limited, abs=1e-9)
    assert clipped  # so that the limits were tried
    switched_off = [note for note in env.notes if "switched off" in note]
    assert len(switched_off) == (2 if motors == POSITION else 0)


def test_a_dc_motor_loses_torque_with_speed(deploy):
    actuator = Actuator(
        "robot", JOINTS, "dc_motor", (90.0, 90.0), (0.5, 0.5), (3.0, 3.0), (4.0, 4.0), (2.0, 2.0)
    )
    env = deploy(host_of(MOTOR), arm_contract(actuator=actuator), Runner((1.5, -1.5)))
    weakened = 0
    for position, velocity, torque in torques_of(env, 60):
        wanted = 90.0 * ([-1.5, 1.5] - position) - 0.5 * velocity
        corner = 2.0 * (1 + 3.0 / 4.0)
        speed = np.clip(velocity, -corner, corner)
        high = np.minimum(4.0 * (1 - speed / 2.0), 3.0)
        low = np.maximum(4.0 * (-1 - speed / 2.0), -3.0)
        weakened += int(((high < 3.0) & (wanted > high)).any())
        assert torque == pytest.approx(np.clip(wanted, low, high), abs=1e-9)
    assert weakened


def test_implicit_actuators_get_the_contracts_gains(deploy):
    actuator = Actuator("robot", JOINTS, "implicit", (80.0, 40.0), (4.0, 2.0), (11.0, 7.0))
    limited = POSITION.replace('kv="1"', 'kv="1" ctrllimited="true" ctrlrange="-.1 .1"')
    env = deploy(host_of(limited), arm_contract(actuator=actuator))
    model = env.host.model
    assert model.actuator_gainprm[:, 0].tolist() == [80.0, 40.0]
    assert model.actuator_biasprm[:, :3].tolist() == [[0, -80, -4], [0, -40, -2]]
    assert model.actuator_forcerange.tolist() == [[-11, 11], [-7, 7]]
    notes = "\n".join(env.notes)
    assert "'shoulder': the model's gains (stiffness 20, damping 1) are replaced by the" in notes
    assert "control range is not enforced" in notes
    for _ in range(300):
        env.step()
    assert env.host.data.qpos[7:].tolist() == pytest.approx([-0.25, 0.5], abs=1e-2)
    kept = deploy(host_of(gains="model"), arm_contract(actuator=actuator))
    assert kept.host.model.actuator_gainprm[:, 0].tolist() == [20.0, 20.0]


def test_gears_are_taken_into_account(deploy):
    geared = '<position joint="shoulder" gear="3" kp="1"/><position joint="elbow" kp="1"/>'
    actuator = Actuator("robot", JOINTS, "implicit", (18.0, 18.0), (0.9, 0.9), (6.0, 6.0))
    env = deploy(host_of(geared), arm_contract(actuator=actuator))
    for position, velocity, torque in torques_of(env, 4):
        wanted = 18.0 * ([-0.25, 0.5] - position) - 0.9 * velocity
        assert torque == pytest.approx(np.clip(wanted, -6, 6), abs=1e-9)


def test_a_spring_without_motor_is_computed_and_noted(deploy):
    actuator = Actuator("robot", JOINTS, "implicit", (20.0, 20.0), (1.0, 1.0))
    env = deploy(host_of(""), arm_contract(actuator=actuator))
    assert sum("computed before each physics step" in note for note in env.notes) == 2
    for position, velocity, torque in torques_of(env, 3):
        assert torque == pytest.approx(20 * ([-0.25, 0.5] - position) - velocity, abs=1e-9)


def test_effort_targets_are_torques(deploy):
    connection = "write:robot:set_joint_effort_target"
    contract = arm_contract(
        outputs=(TensorSpec.of(connection, (2,), element_names=("elbow", "shoulder")),)
    )
    env = deploy(host_of(MOTOR), contract, Runner((0.75, -0.5), connection))
    for _, _, torque in torques_of(env, 2):
        assert torque == pytest.approx([-0.5, 0.75])


@pytest.mark.parametrize(
    ("motors", "actuator", "words"),
    [
        (MOTOR, None, "joint 'elbow' has actuators of kind motor.*does not say how they become"),
        ("", None, "joint 'elbow' has no actuator"),
        (POSITION, Actuator("robot", JOINTS, "other"), "an actuator of its own kind"),
        (
            '<intvelocity joint="shoulder" kp="1" actrange="-1 1"/><position joint="elbow"/>',
            None,
            "joint 'shoulder' has actuators that targets can't drive",
        ),
    ],
)
def test_joints_that_can_not_be_driven_are_named(deploy, motors, actuator, words):
    with pytest.raises(HostMismatchError, match=words):
        deploy(host_of(motors), arm_contract(actuator=actuator))


def test_velocities_gravity_and_poses_are_what_they_are_defined_as():
    host = host_of()
    data, model = host.data, host.model
    generator = np.random.default_rng(3)
    data.qpos[3:7] = generator.normal(size=4)
    data.qpos[3:7] /= np.linalg.norm(data.qpos[3:7])
    data.qpos[7:] = generator.normal(size=2)
    data.qvel[:] = generator.normal(size=model.nv)
    host.refresh()

    def read(name):
        return host.source(Connection("state", ("robot", name))).read()[0].numpy()

    rotation = data.xmat[1].reshape(3, 3)
    # A free joint's own velocities: linear in the world's frame, angular in the body's.
    assert read("root_link_lin_vel_w") == pytest.approx(data.qvel[:3])
    assert read("root_link_ang_vel_b") == pytest.approx(data.qvel[3:6])
    assert read("root_link_lin_vel_b") == pytest.approx(rotation.T @ data.qvel[:3])
    assert read("projected_gravity_b") == pytest.approx(rotation.T @ [0, 0, -1])
    assert read("root_link_pose_w") == pytest.approx(np.r_[data.xpos[1], data.xquat[1]])
    velocity = np.empty(6)
    for index, kind in itertools.product(range(1, 4), ("link", "com")):
        # MuJoCo's own function: angular first; XBODY is the frame, BODY the centre of mass.
        of = mujoco.mjtObj.mjOBJ_XBODY if kind == "link" else mujoco.mjtObj.mjOBJ_BODY
        mujoco.mj_objectVelocity(model, data, of, index, velocity, 0)
        assert read(f"body_{kind}_vel_w")[index - 1] == pytest.approx(
            np.r_[velocity[3:], velocity[:3]]
        )
    mujoco.mju_mulQuat(quaternion := np.empty(4), data.xquat[2], model.body_iquat[2])
    assert read("body_com_quat_w")[1] == pytest.approx(quaternion)
    assert host.source(Connection("sensor", ("gyro", "data"))).read()[0].numpy() == pytest.approx(
        data.sensordata
    )
    assert read("root_lin_vel_b") == pytest.approx(read("root_com_lin_vel_b"))  # Isaac Lab's name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("state:robot:joint_poss", "Did you mean: joint_pos"),
        ("state:cube:joint_pos", "no entity 'cube'; it has robot"),
        ("sensor:lidar:data", "no sensor 'lidar'.*it has gyro"),
        ("env:time", "inputs={'env:time': value}"),
    ],
)
def test_what_is_not_there_is_named(text, words):
    with pytest.raises(NotAtHostError, match=words):
        host_of().source(Connection.parse(text))


def test_names_with_a_prefix_make_entities():
    host = host_of(xml=arm(prefix="robot/"))
    assert host.entities["robot"].joint_names == JOINTS
    assert host.source(Connection.parse("sensor:robot/gyro:data")).value.shape == (3,)
    host = host_of(xml=arm(prefix="left_"), prefixes={"arm": "left_"})
    assert host.entities["arm"].body_names == ("base", "upper", "lower")
    with pytest.raises(ConfigError, match="no body whose name begins with 'right_'"):
        host_of(prefixes={"arm": "right_"})


def test_a_model_comes_from_files_too(tmp_path):
    (tmp_path / "arm.xml").write_text(arm(POSITION))
    host = MujocoHost(tmp_path / "arm.xml", physics_dt=0.002)
    assert host.physics_dt == host.model.opt.timestep == 0.002
    host.save(str(tmp_path / "arm.mjb"))
    assert MujocoHost(tmp_path / "arm.mjb").entities == host.entities
    with pytest.raises(ConfigError, match="There is no model file"):
        MujocoHost(tmp_path / "gone.xml")
    (tmp_path / "bad.xml").write_text("<mujoco><wrong/></mujoco>")
    with pytest.raises(ConfigError, match="MuJoCo can't load"):
        MujocoHost(tmp_path / "bad.xml")


def test_the_callers_model_is_left_alone(deploy):
    model = mujoco.MjModel.from_xml_string(arm(POSITION))
    actuator = Actuator("robot", JOINTS, "implicit", (80.0, 40.0), (4.0, 2.0))
    deploy(MujocoHost(model, physics_dt=0.005), arm_contract(actuator=actuator))
    assert model.actuator_gainprm[:, 0].tolist() == [20.0, 20.0]


@pytest.mark.filterwarnings("ignore")
def test_a_simulation_that_diverges_is_an_error(deploy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log file
    env = deploy(host_of())
    env.host.data.qvel[:] = 1e12
    with pytest.raises(HostError, match="diverged"):
        env.step()
