"""Which actuator takes a target in plain MuJoCo, and with whose gains."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from holdstep.errors import HostMismatchError
from holdstep.wrappers.export.contract import Actuator, TensorSpec
from tests.envs.deployment.robots import (
    JOINTS,
    MOTOR,
    POSITION,
    WRITE,
    Runner,
    arm,
    arm_contract,
    deploy_arm,
    host_of,
    torques_of,
)

pytest.importorskip("mujoco", reason="the extra 'mujoco' is not installed")

BOTH = POSITION + MOTOR
VELOCITY = """<velocity joint="shoulder" kv="1"/><velocity joint="elbow" kv="1"/>"""
SPRING = Actuator("robot", JOINTS, "implicit", (20.0, 20.0), (1.0, 1.0))
HELD = np.array([0.3, -0.4])
"""Where the keyframe has the joints, and so their targets that nobody writes."""


@pytest.fixture
def deploy(tmp_path):
    return functools.partial(deploy_arm, tmp_path)


def writing(kind, *, names=("elbow", "shoulder"), entity="robot", **changes):
    """A contract that writes targets of another kind, and the runner that computes them."""
    connection = f"write:{entity}:set_joint_{kind}_target"
    spec = TensorSpec.of(connection, (2,), element_names=names)
    return arm_contract(outputs=(spec,), **changes), Runner((0.75, -0.5), connection)


@pytest.mark.parametrize("motors", ["", POSITION, MOTOR, BOTH, POSITION + VELOCITY])
@pytest.mark.parametrize("kind", ["effort", "velocity"])
def test_targets_reach_a_spring_whatever_motors_there_are(deploy, kind, motors):
    # It is the sum of all three in the simulators that have implicit actuators; a model's position
    # motor alone takes neither efforts nor velocities.
    contract, runner = writing(kind, actuator=SPRING)
    written = np.array([-0.5, 0.75])  # both gains of efforts and velocities are one
    for position, velocity, torque in torques_of(deploy(host_of(motors), contract, runner), 3):
        wanted = 20 * (HELD - position) - velocity + written
        # Within the implicit integrator a motor's damping is taken at the end of the step.
        assert torque == pytest.approx(wanted, abs=0.03)


def test_a_computed_torque_has_no_motor_beside_it(deploy):
    law = Actuator("robot", JOINTS, "explicit", (30.0, 30.0), (2.0, 2.0))
    env = deploy(host_of(BOTH), arm_contract(actuator=law))
    assert sum("position actuator in the model is switched off" in note for note in env.notes) == 2
    for position, velocity, torque in torques_of(env, 3):
        assert torque == pytest.approx(30 * ([-0.25, 0.5] - position) - 2 * velocity, abs=1e-9)


def test_the_limit_of_two_motors_is_on_their_sum(deploy):
    law = Actuator("robot", JOINTS, "implicit", (20.0, 20.0), (1.0, 1.0), (0.25, 0.125))
    contract, runner = writing("effort", actuator=law)
    for _, _, torque in torques_of(deploy(host_of(BOTH), contract, runner), 2):
        assert torque == pytest.approx([-0.25, 0.125])


def test_gains_of_the_model_are_noted_where_the_contract_has_none(deploy):
    (note,) = deploy(host_of()).notes[-1:]
    assert note.startswith("joints shoulder, elbow: the contract does not say how targets become")
    contract, runner = writing("effort")
    assert not any("own gains" in note for note in deploy(host_of(MOTOR), contract, runner).notes)


@pytest.mark.parametrize("entity", ["robot", "leg"])
def test_gains_are_found_by_the_contracts_own_names(deploy, entity):
    joints = ("j2", "j1")  # elbow, shoulder
    law = Actuator(entity, joints, "explicit", (30.0, 50.0), (2.0, 1.0))
    connection = f"write:{entity}:set_joint_position_target"
    contract = arm_contract(
        inputs=(),
        outputs=(TensorSpec.of(connection, (2,), unit="rad", element_names=joints),),
        actuator=law,
    )
    env = deploy(
        host_of(MOTOR),
        contract,
        Runner(connection=connection),
        rename={connection: WRITE},
        rename_elements={"j1": "shoulder", "j2": "elbow"},
    )
    for position, velocity, torque in torques_of(env, 2):
        wanted = np.array([50.0, 30.0]) * ([-0.25, 0.5] - position) - [1.0, 2.0] * velocity
        assert torque == pytest.approx(wanted, abs=1e-9)


def test_gains_of_the_other_side_are_not_taken(deploy):
    sides = {"shoulder": "right/hip", "elbow": "left/hip"}
    xml = arm(MOTOR)
    for old, new in sides.items():
        xml = xml.replace(f'"{old}"', f'"{new}"')
    names = ("left/hip", "right/hip")
    contract, runner = writing("position", names=names, inputs=())
    law = Actuator("robot", names, "explicit", (30.0, 50.0), (2.0, 1.0))
    contract = arm_contract(inputs=(), outputs=contract.outputs, actuator=law)
    env = deploy(host_of(xml=xml, prefixes={"robot": ""}), contract, runner)
    for position, velocity, torque in torques_of(env, 2):
        wanted = np.array([50.0, 30.0]) * ([-0.5, 0.75] - position) - [1.0, 2.0] * velocity
        assert torque == pytest.approx(wanted, abs=1e-9)


def test_gains_that_may_be_either_sides_are_refused(deploy):
    law = Actuator(
        "robot", ("left/elbow", "right/elbow", "shoulder"), "explicit", (1.0,) * 3, (0.0,) * 3
    )
    with pytest.raises(HostMismatchError, match="'elbow' is ambiguous: left/elbow, right/elbow"):
        deploy(host_of(MOTOR), arm_contract(actuator=law))
