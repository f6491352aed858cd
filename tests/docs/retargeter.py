"""A retargeter as a user may have one, of isaacteleop's parts."""

import numpy as np
from isaacteleop.retargeting_engine.interface import BaseRetargeter
from isaacteleop.retargeting_engine.interface.tensor_group_type import OptionalType
from isaacteleop.retargeting_engine.tensor_types import ControllerInput, ControllerInputIndex

from tests.policies.teleop.graphs import vector


class StickToPose(BaseRetargeter):
    """Drives a point mass with the stick of a controller."""

    def input_spec(self):
        return {"controller_right": OptionalType(ControllerInput())}

    def output_spec(self):
        return {"pose": OptionalType(vector("pose", 2))}

    def _compute_fn(self, inputs, outputs, context):
        controller = inputs["controller_right"]
        axes = ControllerInputIndex.THUMBSTICK_X, ControllerInputIndex.THUMBSTICK_Y
        outputs["pose"][0] = np.asarray([controller[int(axis)] for axis in axes], dtype=np.float32)
