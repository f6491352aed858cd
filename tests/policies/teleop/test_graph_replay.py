"""Graphs from files do what the same graphs do that are built in Python, frame by frame."""

import contextlib
import threading

import numpy as np
import pytest
import torch

pytest.importorskip("isaacteleop", reason="the extra 'teleop' is not installed")
pytest.importorskip("flatbuffers", reason="recordings are made with flatbuffers")
from isaacteleop.retargeters import (
    ControllerPoseSource,
    EePoseRateLimiter,
    GripperRetargeter,
    GripperRetargeterConfig,
    HandPose,
    LocomotionRootCmdRetargeter,
    LocomotionRootCmdRetargeterConfig,
    RateLimiterConfig,
    SO101ClutchRetargeter,
    TensorReorderer,
)
from isaacteleop.retargeting_engine.deviceio_source_nodes import (
    ControllersSource,
)
from isaacteleop.retargeting_engine.interface import OutputCombiner, TensorGroup, ValueInput
from isaacteleop.retargeting_engine.tensor_types import TransformMatrix
from isaacteleop.retargeting_engine.utilities import ControllerTransform

from holdstep.policies.teleop.config.session_source import session_source
from tests.policies.teleop.controller_recordings import waving, write_controllers
from tests.policies.teleop.graph_sessions import connected, graph_time, parsed, theirs
from tests.policies.teleop.requests import request

NUM_FRAMES = 40
LOST = (0, 11, 12, 30)


def grippers_and_legs():
    controllers = ControllersSource("controllers")
    left, right = controllers.output("controller_left"), controllers.output("controller_right")
    config = GripperRetargeterConfig(hand_side="left", controller_threshold=0.3)
    gripper = connected(GripperRetargeter(config, name="gripper"), controller_left=left)
    legs = connected(
        LocomotionRootCmdRetargeter(
            LocomotionRootCmdRetargeterConfig(movement_scale=0.9, dt=0.05), name="legs"
        ),
        controller_left=left,
        controller_right=right,
    )
    action = connected(
        TensorReorderer(
            {"gripper": ["grip"], "legs": ["x", "y", "yaw", "height"]},
            ["height", "yaw", "grip", "x", "y"],
            "action",
            {"legs": "array"},
        ),
        gripper=gripper.output("gripper_command"),
        legs=legs.output("root_command"),
    )
    return OutputCombiner({"action": action.output("output")})


GRIPPERS_AND_LEGS = """
nodes:
  action:
    type: TensorReorderer
    options:
      input_config: {gripper: [grip], legs: [x, y, yaw, height]}
      output_order: [height, yaw, grip, x, y]
      input_types: {legs: array}
    inputs: {gripper: gripper.gripper_command, legs: legs.root_command}
  gripper:
    type: GripperRetargeter
    options: {hand_side: left, controller_threshold: 0.3}
    inputs: {controller_left: controllers.controller_left}
  legs:
    type: LocomotionRootCmdRetargeter
    options: {movement_scale: 0.9, dt: 0.05}
    inputs:
      controller_left: controllers.controller_left
      controller_right: controllers.controller_right
  controllers: {type: ControllersSource}
outputs: {action: action.output}
"""


def limited_pose():
    right = ControllersSource("controllers").output("controller_right")
    pose = connected(ControllerPoseSource("pose", HandPose.AIM), controller_right=right)
    config = RateLimiterConfig(max_linear_velocity=2, reject_angular_velocity=None, max_dt=0.5)
    limiter = connected(EePoseRateLimiter("limiter", config), ee_pose=pose.output("ee_pose"))
    home = np.array([[1, 0, 0, 0.1], [0, 1, 0, 0.2], [0, 0, 1, 0.3], [0, 0, 0, 1]])
    clutch = connected(
        SO101ClutchRetargeter("clutch", home, position_scale=0.5), controller_right=right
    )
    return OutputCombiner({"hand": limiter.output("ee_pose"), "arm": clutch.output("ee_pose")})


LIMITED_POSE = """
nodes:
  controllers: {type: ControllersSource}
  pose:
    type: ControllerPoseSource
    options: {pose: aim}
    inputs: {controller_right: controllers.controller_right}
  limiter:
    type: EePoseRateLimiter
    options: {max_linear_velocity: 2, reject_angular_velocity: null, max_dt: 0.5}
    inputs: {ee_pose: pose.ee_pose}
  clutch:
    type: SO101ClutchRetargeter
    options:
      home_base_T_ee: [[1, 0, 0, 0.1], [0, 1, 0, 0.2], [0, 0, 1, 0.3], [0, 0, 0, 1]]
      position_scale: 0.5
    inputs: {controller_right: controllers.controller_right}
outputs: {hand: limiter.ee_pose, arm: clutch.ee_pose}
"""


def shifted_legs():
    controllers, shift = ControllersSource("controllers"), ValueInput("shift", TransformMatrix())
    shifted = connected(
        ControllerTransform("shifted"),
        controller_left=controllers.output("controller_left"),
        controller_right=controllers.output("controller_right"),
        transform=shift.output("value"),
    )
    pose = connected(
        ControllerPoseSource("pose", input_device="controller_left"),
        controller_left=shifted.output("controller_left"),
    )
    return OutputCombiner({"action": pose.output("ee_pose")})


SHIFTED_LEGS = """
nodes:
  controllers: {type: ControllersSource}
  shift: {type: ValueInput, options: {tensor_type: TransformMatrix}}
  shifted:
    type: ControllerTransform
    inputs:
      controller_left: controllers.controller_left
      controller_right: controllers.controller_right
      transform: shift.value
  pose:
    type: ControllerPoseSource
    options: {input_device: controller_left}
    inputs: {controller_left: shifted.controller_left}
outputs: {action: pose.ee_pose}
"""


@pytest.fixture
def controllers(tmp_path):
    return write_controllers(tmp_path / "c.mcap", waving(NUM_FRAMES, lost=LOST))


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def value_of(group):
    """None where there is none, also where a rate limiter has had nothing to limit yet."""
    with contextlib.suppress(ValueError):
        return None if group.is_none else np.asarray(group[0])


def compare(session, source, outputs, *, external=None):
    """Both step by step; returns how many different actions there were."""
    seen = set()
    source.start((0,))
    try:
        with session:
            for number in range(NUM_FRAMES):
                inputs = None if external is None else external(number)
                asked = request(number, real_time_s=number * 0.021, external_inputs=inputs or {})
                expected = session.step(external_inputs=inputs, graph_time=graph_time(asked))
                actions = source.compute(asked).actions
                values = [value_of(expected[name]) for name in outputs]
                if any(value is None for value in values):
                    assert actions is None
                    continue
                assert torch.equal(actions, torch.cat([torch.from_numpy(v) for v in values]))
                seen.add(tuple(actions.tolist()))
    finally:
        source.stop()
    return len(seen)


@pytest.mark.parametrize(
    ("build", "text", "outputs"),
    [
        (grippers_and_legs, GRIPPERS_AND_LEGS, ["action"]),
        (limited_pose, LIMITED_POSE, ["hand", "arm"]),
    ],
)
def test_the_same_outputs_as_of_the_graph_in_python(controllers, build, text, outputs):
    source = parsed(text, controllers, output=f"[{', '.join(outputs)}]")
    ours = session_source(source, source.pipeline)
    assert compare(theirs(build(), controllers), ours, outputs) > NUM_FRAMES - 10


def test_the_same_outputs_with_external_inputs(controllers):
    def shift(number):
        group = TensorGroup(TransformMatrix())
        group[0] = np.array(
            [[0, -1, 0, number], [1, 0, 0, 0.5], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float32
        )
        return {"shift": {"value": group}}

    source = parsed(SHIFTED_LEGS, controllers)
    ours = session_source(source, source.pipeline)
    assert list(ours.get_external_input_specs()) == ["shift"]
    compared = compare(theirs(shifted_legs(), controllers), ours, ["action"], external=shift)
    assert compared == NUM_FRAMES - len(LOST)


def test_each_call_builds_other_nodes_that_remember_nothing(controllers):
    # A hip height is a sum over frames: with the nodes of the session before, it would go on.
    source = parsed(GRIPPERS_AND_LEGS, controllers)
    ours = session_source(source, source.pipeline)
    for _ in range(2):
        assert compare(theirs(grippers_and_legs(), controllers), ours, ["action"]) > 30
