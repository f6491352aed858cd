"""mjlab without managers moves a robot as mjlab's own env does; so does plain MuJoCo."""

from __future__ import annotations

import contextlib
import io

import pytest
import torch

from holdstep.envs import DeploymentEnv, MjlabHost, MujocoHost
from holdstep.envs.adapters.mjlab import task_registry
from holdstep.envs.deployment.host import NotAtHostError
from holdstep.errors import ConfigError, HostMismatchError, UnknownEnvError
from holdstep.wrappers.export.actuators import mjlab_actuators
from holdstep.wrappers.export.connections import Connection
from holdstep.wrappers.export.contract import Contract, TensorSpec
from holdstep.wrappers.export.contract_file import write_contract
from holdstep.wrappers.export.semantics.mjlab import TABLE
from tests.conftest import make_mjlab

pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")

GO1 = "Mjlab-Velocity-Flat-Unitree-Go1"
WRITE = "write:robot:set_joint_position_target"
NUM_ENVS = 3


@pytest.fixture(scope="module")
def manager_env():
    env = make_mjlab(GO1, num_envs=NUM_ENVS, seed=0, play=True)
    yield env
    env.close()


@pytest.fixture(scope="module")
def host():
    with contextlib.redirect_stdout(io.StringIO()):
        host = MjlabHost(GO1, num_envs=NUM_ENVS, seed=0)
    yield host
    host.close()


def go1_contract(host, *, reverse=False, **changes):
    joints = host.entities["robot"].joint_names
    joints = joints[::-1] if reverse else joints
    count = len(joints)
    given = {
        "version": 1,
        "task": GO1,
        "simulator": "mjlab",
        "created_with": {},
        "step_dt": 0.02,
        "physics_dt": 0.005,
        "decimation": 4,
        "traced_num_envs": 1,
        "inputs": (
            TensorSpec.of("state:robot:joint_pos", (count,), unit="rad", element_names=joints),
            TensorSpec.of("state:robot:projected_gravity_b", (3,), unit="1", frame="body"),
        ),
        "memories": (),
        "outputs": (TensorSpec.of(WRITE, (count,), unit="rad", element_names=joints),),
    }
    return Contract(**(given | changes))


class Swing:
    """Targets that swing about the default pose, each joint in its own time."""

    def __init__(self, default, names):
        self.default, self.names, self.count = default, names, 0
        self.phase = torch.tensor([float(sum(map(ord, name)) % 7) for name in names])
        self.seen = []

    def target(self):
        return self.default + 0.3 * torch.sin(0.5 * self.count + self.phase)

    def step(self, inputs):
        self.seen.append(inputs)
        target = self.target()
        self.count += 1
        return {WRITE: target.repeat(len(inputs["state:robot:joint_pos"]), 1)}

    def reset(self, env_ids=None):
        self.count = 0


def copy_state(source, target, rows=slice(None)):
    for name in ("qpos", "qvel", "qacc_warmstart"):
        getattr(target, name)[rows] = getattr(source, name)[rows]


@pytest.mark.parametrize("reverse", [False, True])
def test_the_same_targets_from_the_same_state_move_it_the_same(
    manager_env, host, tmp_path, reverse
):
    core = manager_env.backend_env
    entity = core.scene["robot"]
    contract = go1_contract(host, reverse=reverse)
    names = contract.outputs[0].element_names
    order = [entity.joint_names.index(name) for name in names]
    default = entity.data.default_joint_pos[0]
    runner = Swing(default[order], names)
    write_contract(contract, tmp_path)
    env = DeploymentEnv(host, tmp_path, runner=runner, num_envs=NUM_ENVS)
    manager_env.reset(seed=5)
    env.reset()
    entity.data.encoder_bias.zero_()
    copy_state(core.sim.data, host.env.sim.data)
    host.refresh()
    # Randomised at the manager env's start, and not at the host's.
    for name in core.sim.expanded_fields:
        model = getattr(core.sim.model, name)
        default_value = torch.as_tensor(getattr(core.sim.mj_model, name), dtype=model.dtype)
        model[:] = default_value
    term = core.action_manager.get_term("joint_pos")
    back = [names.index(name) for name in term.target_names]
    for step in range(10):
        target = runner.target().repeat(NUM_ENVS, 1)[:, back]
        manager_env.step((target - term.offset) / term.scale)
        env.step()
        difference = (core.sim.data.qpos[:] - host.env.sim.data.qpos[:]).abs().max()
        assert float(difference) <= 1e-6, step
    read = env._readers["state:robot:projected_gravity_b"]()
    assert torch.allclose(read, entity.data.projected_gravity_b, atol=1e-5)


def test_a_partial_reset_leaves_the_other_rows_alone(host, tmp_path):
    write_contract(go1_contract(host), tmp_path)
    default = host.env.scene["robot"].data.default_joint_pos[0]
    names = host.entities["robot"].joint_names

    def run(with_reset):
        env = DeploymentEnv(host, tmp_path, runner=Swing(default, names))
        torch.manual_seed(0)
        env.reset()
        for step in range(6):
            if with_reset and step == 3:
                env.reset([1])
                assert env.episode_length_buf.tolist() == [3, 0, 3]
            env._runner.count = step
            env.step()
        return host.env.sim.data.qpos[:].clone()

    without, with_reset = run(False), run(True)
    assert torch.equal(without[[0, 2]], with_reset[[0, 2]])
    assert not torch.equal(without[1], with_reset[1])


def test_plain_mujoco_gives_the_same_quantities(host):
    plain = MujocoHost.from_mjlab(GO1)
    torch.manual_seed(1)
    data = host.env.sim.data
    data.qpos[0, 3:7] = torch.nn.functional.normalize(torch.randn(4), dim=0)
    data.qpos[0, 2] += 1.0  # in the air: contacts depend on more than the state
    data.qpos[0, 7:] += 0.2 * torch.randn(12)
    data.qvel[0] = torch.randn(18)
    host.refresh()
    plain.data.qpos[:] = data.qpos[0].numpy()
    plain.data.qvel[:] = data.qvel[0].numpy()
    plain.data.ctrl[:] = data.ctrl[0].numpy()
    plain.refresh()
    compared = set()
    for name, meaning in TABLE["mjlab.entity.data.EntityData"].items():
        connection = Connection("state", ("robot", name))
        try:
            ours = plain.source(connection)
        except NotAtHostError:
            continue
        theirs = host.source(connection)
        assert ours.value == theirs.value, name
        # Accelerations and forces also depend on the solver, to single precision.
        tolerance = 1e-2 if name in ("joint_acc", "qfrc_actuator") else 2e-4
        assert torch.allclose(
            ours.read()[0].float(), theirs.read()[0], atol=tolerance, rtol=tolerance
        ), name
        assert meaning.role == "state"
        compared.add(name)
    assert {"joint_pos", "root_link_lin_vel_b", "body_com_vel_w", "heading_w"} <= compared
    assert len(compared) > 35
    for sensor in ("robot/imu_ang_vel", "robot/imu_lin_vel"):
        connection = Connection("sensor", (sensor, "data"))
        assert plain.source(connection).value == host.source(connection).value
        ours, theirs = plain.source(connection).read(), host.source(connection).read()
        assert torch.allclose(ours[0].float(), theirs[0], atol=1e-4), sensor


def test_plain_mujoco_moves_the_robot_alike(host, tmp_path):
    actuators = mjlab_actuators(host.env.scene.entities)
    write_contract(go1_contract(host, actuators=actuators), tmp_path)
    default = host.env.scene["robot"].data.default_joint_pos[0]
    names = host.entities["robot"].joint_names
    plain = DeploymentEnv(MujocoHost.from_mjlab(GO1), tmp_path, runner=Swing(default, names))
    warp = DeploymentEnv(host, tmp_path, runner=Swing(default, names))
    plain.reset()
    warp.reset()
    host.env.sim.data.qpos[:, :3] = torch.as_tensor(plain.host.data.qpos[:3]).float()
    host.env.sim.data.qpos[:, 3:] = torch.as_tensor(plain.host.data.qpos[3:]).float()
    host.env.sim.data.qvel[:] = 0.0
    host.refresh()
    for _ in range(10):
        plain.step()
        warp.step()
        difference = plain.host.data.qpos[7:] - host.env.sim.data.qpos[0, 7:].numpy()
        assert abs(difference).max() < 2e-3
    assert [note for note in plain.notes if "gains" in note] == []


def other_actuators(kind):
    """Go1 with actuators that compute torques themselves."""
    actuator = pytest.importorskip("mjlab.actuator")
    cfg = task_registry().load_env_cfg(GO1, play=True)
    common = {
        "target_names_expr": (".*",),
        "stiffness": 25.0,
        "damping": 0.8,
        "effort_limit": 18.0,
        "armature": 0.01,
    }
    if kind == "dc_motor":
        chosen = actuator.DcMotorActuatorCfg(**common, saturation_effort=20.0, velocity_limit=9.0)
    else:
        chosen = actuator.IdealPdActuatorCfg(**common)
    cfg.scene.entities["robot"].articulation.actuators = (chosen,)
    return cfg


@pytest.mark.parametrize("kind", ["explicit", "dc_motor"])
def test_plain_mujoco_computes_torques_as_mjlabs_actuators_do(kind, tmp_path):
    cfg = other_actuators(kind)
    with contextlib.redirect_stdout(io.StringIO()):
        host = MjlabHost(cfg=cfg)
    (actuator,) = mjlab_actuators({"robot": host.env.scene["robot"]})
    assert (actuator.kind, actuator.stiffness[0], actuator.effort_limit[0]) == (kind, 25.0, 18.0)
    write_contract(go1_contract(host, actuators=(actuator,)), tmp_path)
    default = host.env.scene["robot"].data.default_joint_pos[0]
    names = host.entities["robot"].joint_names
    plain = DeploymentEnv(MujocoHost.from_mjlab(cfg=cfg), tmp_path, runner=Swing(default, names))
    warp = DeploymentEnv(host, tmp_path, runner=Swing(default, names))
    plain.reset()
    warp.reset()
    plain.host.data.qpos[2] += 1.0  # in the air, where only the motors matter
    host.env.sim.data.qpos[0] = torch.as_tensor(plain.host.data.qpos).float()
    host.env.sim.data.qvel[:] = 0.0
    host.refresh()
    for _ in range(10):
        plain.step()
        warp.step()
        difference = plain.host.data.qpos[7:] - host.env.sim.data.qpos[0, 7:].numpy()
        assert abs(difference).max() < 2e-5
    host.close()


def test_implicit_actuators_are_read_as_mujoco_has_them(host):
    model = host.env.sim.mj_model
    for actuator in mjlab_actuators(host.env.scene.entities):
        assert (actuator.entity, actuator.kind) == ("robot", "implicit")
        for index, name in enumerate(actuator.joint_names):
            motor = model.actuator(f"robot/{name}")
            assert motor.gainprm[0] == pytest.approx(actuator.stiffness[index])
            assert motor.biasprm[2] == pytest.approx(-actuator.damping[index])
            assert motor.forcerange[1] == pytest.approx(actuator.effort_limit[index])


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        ("state:robt:joint_pos", "no entity 'robt'; it has .*Did you mean: robot"),
        ("state:robot:joint_poss", "gives no 'joint_poss'.*Did you mean: joint_pos"),
        ("sensor:imu:data", "no sensor 'imu'"),
        ("command:twist", "set it with inputs="),
    ],
)
def test_what_is_not_there_is_named(host, connection, words):
    with pytest.raises(NotAtHostError, match=words):
        host.source(Connection.parse(connection))


def test_methods_that_are_no_targets_are_not_called(host):
    for method in ("reset", "clear_state", "write_joint_state_to_sim", "__init__", "nothing"):
        with pytest.raises(NotAtHostError, match="no method of targets"):
            host.target(Connection("write", ("robot", method)))


def test_a_contract_for_another_robot_lists_all_that_is_missing(host, tmp_path):
    spec = TensorSpec.of(WRITE, (2,), element_names=("FR_hip_joint", "waist"))
    other = TensorSpec.of("state:cube:root_link_pos_w", (3,))
    contract = go1_contract(host, inputs=(other,), outputs=(spec,))
    write_contract(contract, tmp_path)
    with pytest.raises(HostMismatchError) as caught:
        DeploymentEnv(host, tmp_path, runner=Swing(torch.zeros(2), ("a", "b")), num_envs=1)
    text = str(caught.value)
    assert "num_envs: 1 rows were asked for, mjlab has 3" in text
    assert "state:cube:root_link_pos_w: mjlab has no entity 'cube'" in text
    assert "missing at the host: waist" in text


def test_arguments_are_checked():
    with pytest.raises(UnknownEnvError):
        MjlabHost("Mjlab-Nothing")
    with pytest.raises(ConfigError, match="events are among startup, reset"):
        MjlabHost(GO1, events=("resets",))
    with pytest.raises(ConfigError, match="num_envs must be at least 1"):
        MjlabHost(GO1, num_envs=0)
    with pytest.raises(ConfigError, match="needs a task"):
        MjlabHost()
