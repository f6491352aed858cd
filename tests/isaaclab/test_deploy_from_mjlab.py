"""Policies exported on mjlab, run on Isaac Lab 3: other joint orders, quaternions, names and units.

The same names of joints make one robot of mjlab's Go1 and Isaac Lab's Go2; how they move is not
compared, only what is written in the same state.
"""

from __future__ import annotations

import contextlib
import io

import pytest
import torch

from holdstep.envs import DeploymentEnv, IsaacLabHost
from holdstep.errors import HostMismatchError
from holdstep.wrappers.export.contract import Contract, TensorSpec
from holdstep.wrappers.export.contract_file import write_contract
from tests.envs.deployment.recorded_export import NUM_ENVS, NUM_STEPS, WRITE, record
from tests.isaaclab.hard_tasks import CARTPOLE, GO2


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """TorchScript, which runs wherever torch does."""
    return record(tmp_path_factory.mktemp("mjlab") / "go1", "jit-trace")


@pytest.fixture
def make_host(assets):
    with contextlib.ExitStack() as stack:

        def make_one(task, **options):
            with contextlib.redirect_stdout(io.StringIO()):
                host = IsaacLabHost(task, **({"num_envs": NUM_ENVS} | options))
            stack.callback(host.close)
            return host

        yield make_one


def put_state(host, state):
    """Isaac Lab 3's quaternions are x, y, z, w."""
    robot = host.env.scene["robot"]
    position = state["pos"] + host.env.scene.env_origins
    pose = torch.cat([position, state["quat"][:, [1, 2, 3, 0]]], dim=1)
    velocity = torch.cat([state["lin_vel"], state["ang_vel"]], dim=1)
    robot.write_root_link_pose_to_sim_index(root_pose=pose)
    robot.write_root_link_velocity_to_sim_index(root_velocity=velocity)
    robot.write_joint_position_to_sim_index(position=state["joint_pos"])
    robot.write_joint_velocity_to_sim_index(velocity=state["joint_vel"])
    host.env.sim.forward()


def test_the_same_targets_in_the_same_states(recorded, make_host):
    host = make_host(GO2)
    joints = host.entities["robot"].joint_names
    assert sorted(joints) == sorted(recorded.joint_names)
    assert joints != recorded.joint_names  # in another order
    data = host.env.scene["robot"].data
    with DeploymentEnv(host, recorded.folder, num_envs=NUM_ENVS, allow_jit=True) as env:
        assert any("quaternions converted, xyzw and wxyz" in note for note in env.notes)
        assert sum("reordered by name" in note for note in env.notes) == 3
        env.set_command("twist", recorded.commands[0])
        env.reset()
        env.step()  # the actuators have run once: until then velocities are clamped to zero
        env.reset()
        for step in range(NUM_STEPS):
            env.set_command("twist", recorded.commands[step])
            put_state(host, recorded.state(step, joints))
            outputs = env.step()
            own_order = recorded.target(step, recorded.joint_names)
            assert torch.allclose(outputs[WRITE], own_order, atol=1e-5), step
            written = data.joint_pos_target.torch
            assert torch.allclose(written, recorded.target(step, joints), atol=1e-5), step
    # Targets that differ enough that an order or a sign that is wrong is seen.
    assert float(recorded.targets.std(dim=0).min()) > 1e-3
    assert float(recorded.states["quat"][..., 1:].abs().max()) > 1e-2


def test_joints_are_known_to_turn(recorded, make_host):
    host = make_host(GO2, num_envs=1)
    contract = carts_contract(joint="FL_hip_joint", unit="m", write_unit="N", entity="robot")
    with pytest.raises(HostMismatchError) as caught:
        DeploymentEnv(host, write(contract, recorded.folder.parent / "wrong"), runner=Push())
    text = str(caught.value)
    assert "state:robot:joint_pos: the contract has unit 'm', isaaclab has 'rad'" in text
    assert "write:robot:set_joint_effort_target: the contract has unit 'N'" in text


def carts_contract(*, joint="slider", unit="m", write_unit="N", entity="cartpole"):
    """A controller of one joint, with mjlab's names."""
    names = (joint,)
    physics_dt, decimation = (1 / 120, 5) if entity == "cartpole" else (0.005, 4)
    return Contract(
        version=1,
        task="mjlab:Mjlab-Cartpole-Balance",
        simulator="mjlab",
        created_with={},
        step_dt=physics_dt * decimation,
        physics_dt=physics_dt,
        decimation=decimation,
        traced_num_envs=1,
        inputs=(
            TensorSpec.of(f"state:{entity}:joint_pos", (1,), unit=unit, element_names=names),
            TensorSpec.of(f"state:{entity}:joint_vel", (1,), element_names=names),
        ),
        memories=(),
        outputs=(
            TensorSpec.of(
                f"write:{entity}:set_joint_effort_target",
                (1,),
                unit=write_unit,
                element_names=names,
            ),
        ),
    )


def write(contract, folder):
    folder.mkdir(exist_ok=True)
    write_contract(contract, folder)
    return folder


class Push:
    """Pulls the cart to 1 m."""

    def step(self, inputs):
        position, velocity = inputs.values()
        return {"write:cartpole:set_joint_effort_target": 60 * (1.0 - position) - 12 * velocity}

    def reset(self, env_ids=None):
        pass


AT_HOST = {
    f"{role}:cartpole:{name}": f"{role}:robot:{name}"
    for role, name in (
        ("state", "joint_pos"),
        ("state", "joint_vel"),
        ("write", "set_joint_effort_target"),
    )
}


def test_one_sliding_joint_under_other_names(make_host, tmp_path):
    host = make_host(CARTPOLE)
    folder = write(carts_contract(), tmp_path)
    renamed = {"slider": "slider_to_cart"}
    with DeploymentEnv(host, folder, runner=Push(), rename=AT_HOST, rename_elements=renamed) as env:
        assert any("cart_to_pole" in note for note in env.notes)  # left alone
        env.reset()
        for _ in range(60):
            env.step()
        position = host.env.scene["robot"].data.joint_pos.torch
        cart = list(host.entities["robot"].joint_names).index("slider_to_cart")
        assert torch.allclose(position[:, cart], torch.ones(NUM_ENVS), atol=0.1)


def test_a_sliding_joint_is_not_taken_for_one_that_turns(make_host, tmp_path):
    folder = write(carts_contract(), tmp_path)
    with pytest.raises(HostMismatchError) as caught:
        DeploymentEnv(
            make_host(CARTPOLE),
            folder,
            runner=Push(),
            rename=AT_HOST,
            rename_elements={"slider": "cart_to_pole"},
        )
    text = str(caught.value)
    assert "state:cartpole:joint_pos: the contract has unit 'm', isaaclab has 'rad'" in text
    assert "set_joint_effort_target: the contract has unit 'N', isaaclab has 'N m'" in text
