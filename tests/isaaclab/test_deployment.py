"""Isaac Lab 3 as a host: exported policies without its managers."""

from __future__ import annotations

import contextlib
import io

import pytest
import torch

from holdstep.envs import DeploymentEnv, IsaacLabHost
from holdstep.errors import BackendUnavailableError, HostMismatchError
from holdstep.wrappers.export.actuators import isaaclab_actuators
from holdstep.wrappers.export.contract import Contract, TensorSpec
from holdstep.wrappers.export.contract_file import write_contract
from tests.isaaclab.hard_tasks import GO2, actions_for, quiet_go2

NUM_ENVS = 3
WRITE = "write:robot:set_joint_position_target"
POSITION, QUATERNION = "state:robot:joint_pos", "state:robot:root_quat_w"


def go2_cfg():
    """The task without randomisation, so that two scenes of it are the same."""
    from holdstep.envs.adapters.isaaclab import tasks

    cfg = tasks.with_presets(tasks.load_env_cfg(GO2), None)
    quiet_go2(cfg)
    for name, term in list(vars(cfg.events).items()):
        if getattr(term, "mode", None) == "startup":
            setattr(cfg.events, name, None)
    return cfg


@pytest.fixture
def make_host(assets):
    with contextlib.ExitStack() as stack:

        def make_one(**options):
            with contextlib.redirect_stdout(io.StringIO()):
                host = IsaacLabHost(cfg=go2_cfg(), num_envs=NUM_ENVS, **options)
            stack.callback(host.close)
            return host

        yield make_one


def contract_of(names, **changes):
    count = len(names)
    given = {
        "version": 1,
        "task": GO2,
        "simulator": "isaaclab",
        "created_with": {},
        "step_dt": 0.02,
        "physics_dt": 0.005,
        "decimation": 4,
        "traced_num_envs": 1,
        "inputs": (
            TensorSpec.of(POSITION, (count,), unit="rad", element_names=tuple(names)),
            TensorSpec.of(QUATERNION, (4,), frame="world", quaternion_order="wxyz"),
        ),
        "memories": (),
        "outputs": (TensorSpec.of(WRITE, (count,), unit="rad", element_names=tuple(names)),),
    }
    return Contract(**(given | changes))


class Replay:
    """Writes recorded targets, and keeps what it was given."""

    def __init__(self, targets=None, write=WRITE):
        self.targets, self.write, self.count, self.seen = targets, write, 0, []

    def step(self, inputs):
        self.seen.append(inputs)
        target = inputs[POSITION] if self.targets is None else self.targets[self.count]
        self.count += 1
        return {self.write: target}

    def reset(self, env_ids=None):
        pass


def state_of(robot):
    data = robot.data
    return [
        getattr(data, name).torch.clone()
        for name in ("root_link_pose_w", "root_com_vel_w", "joint_pos", "joint_vel")
    ]


def put_state(host, state):
    robot = host.env.scene["robot"]
    pose, velocity, position, joint_velocity = state
    robot.write_root_link_pose_to_sim_index(root_pose=pose)
    robot.write_root_com_velocity_to_sim_index(root_velocity=velocity)
    robot.write_joint_position_to_sim_index(position=position)
    robot.write_joint_velocity_to_sim_index(velocity=joint_velocity)
    host.env.sim.forward()


def test_the_same_targets_from_the_same_state_move_it_the_same(make_env, make_host, tmp_path):
    env = make_env(GO2, num_envs=NUM_ENVS, cfg=go2_cfg())
    with contextlib.redirect_stdout(io.StringIO()):
        env.reset(seed=3)
        env.reset(seed=3)
    core = env.backend_env
    robot = core.scene["robot"]
    names = tuple(robot.joint_names)
    origins = core.scene.env_origins.clone()
    start, targets, positions = state_of(robot), [], []
    for action in actions_for(env, 10):
        env.step(action)
        term = core.action_manager.get_term("joint_pos")
        targets.append(term.processed_actions.clone())
        positions.append(robot.data.joint_pos.torch.clone())
    env.close()

    host = make_host()
    assert torch.equal(host.env.scene.env_origins, origins)
    order = list(reversed(range(len(names))))  # the contract's joints the other way round
    contract = contract_of([names[index] for index in order])
    write_contract(contract, tmp_path)
    runner = Replay([target[:, order] for target in targets])
    deployed = DeploymentEnv(host, tmp_path, runner=runner, num_envs=NUM_ENVS)
    deployed.reset()
    deployed.step()  # the actuators have run once: until then velocities are clamped to zero
    deployed.reset()
    runner.count, runner.seen = 0, []
    put_state(host, start)
    for step, expected in enumerate(positions):
        deployed.step()
        now = host.env.scene["robot"].data.joint_pos.torch
        assert float((now - expected).abs().max()) <= 1e-6, step
    assert torch.equal(runner.seen[0][POSITION], start[2][:, order])
    # Isaac Lab 3 has x, y, z, w; the contract asks for w, x, y, z.
    assert torch.allclose(runner.seen[0][QUATERNION], start[0][:, [6, 3, 4, 5]], atol=1e-6)
    assert any("quaternions converted" in note for note in deployed.notes)


def test_a_partial_reset_leaves_the_other_rows_alone(make_host, tmp_path):
    host = make_host()
    write_contract(contract_of(host.entities["robot"].joint_names), tmp_path)
    with DeploymentEnv(host, tmp_path, runner=Replay()) as env:
        env.reset()
        for _ in range(3):
            env.step()
        before = state_of(host.env.scene["robot"])
        env.reset([1])
        after = state_of(host.env.scene["robot"])
        for old, new in zip(before, after, strict=True):
            assert torch.equal(old[[0, 2]], new[[0, 2]])
        assert not torch.equal(before[2][1], after[2][1])
        assert env.episode_length_buf.tolist() == [3, 0, 3]


def test_one_scene_at_a_time_and_closing_makes_room(make_host):
    host = make_host()
    with pytest.raises(BackendUnavailableError, match="Another Isaac Lab env or host is open"):
        make_host()
    host.close()
    host.close()
    make_host()


def test_actuators_are_described(make_host):
    (actuator,) = isaaclab_actuators(make_host().env.scene.articulations)
    assert (actuator.entity, actuator.kind, len(actuator.joint_names)) == ("robot", "dc_motor", 12)
    assert (actuator.stiffness[0], actuator.damping[0]) == pytest.approx((25.0, 0.5))
    assert (actuator.saturation_effort[0], actuator.velocity_limit[0]) == pytest.approx(
        (23.5, 30.0)
    )


def test_what_does_not_fit_is_listed(make_host, tmp_path):
    contract = contract_of(
        ["FL_hip_joint", "tail"],
        inputs=(TensorSpec.of("state:arm:joint_pos", (1,)),),
        physics_dt=0.002,
        decimation=10,
    )
    write_contract(contract, tmp_path)
    with pytest.raises(HostMismatchError) as caught:
        DeploymentEnv(make_host(), tmp_path, runner=Replay())
    text = str(caught.value)
    assert "physics_dt: the contract has 0.002 s, isaaclab has 0.005 s" in text
    assert "state:arm:joint_pos: isaaclab has no entity 'arm'" in text
    assert "missing at the host: tail" in text
