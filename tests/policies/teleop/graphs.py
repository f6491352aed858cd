"""Retargeting pipelines for the tests, of isaacteleop's own parts."""

import threading
import time

import numpy as np
from isaacteleop.retargeting_engine.deviceio_source_nodes import Generic3AxisPedalSource
from isaacteleop.retargeting_engine.interface import (
    BaseRetargeter,
    OutputCombiner,
    TensorGroupType,
    ValueInput,
)
from isaacteleop.retargeting_engine.interface.tensor_group_type import OptionalType
from isaacteleop.retargeting_engine.tensor_types import NDArrayType
from isaacteleop.teleop_session_manager import DefaultTeleopStateManager, create_bool_selector


def vector(name, width):
    return TensorGroupType(name, [NDArrayType(name, shape=(width,))])


class PedalsToAction(BaseRetargeter):
    """The speed of a point mass by two pedals; remembers how far it went, until a reset.

    Its output array is one that it uses again in each frame, as retargeters may.
    """

    def __init__(self, name, width=2):
        self.width = width
        self.total = 0.0
        self.contexts = []
        self.buffer = np.zeros(width, dtype=np.float32)
        super().__init__(name)

    def input_spec(self):
        from isaacteleop.retargeting_engine.tensor_types import Generic3AxisPedalInput

        return {"pedals": OptionalType(Generic3AxisPedalInput())}

    def output_spec(self):
        return {"action": OptionalType(vector("action", self.width))}

    def _compute_fn(self, inputs, outputs, context):
        self.contexts.append(context)
        if context.execution_events.reset:
            self.total = 0.0
        pedals = inputs["pedals"]
        if pedals.is_none:
            outputs["action"].set_none()
            return
        self.total += float(pedals[0])
        self.buffer[:] = 0.0
        self.buffer[: min(2, self.width)] = [self.total, float(pedals[1])][: self.width]
        outputs["action"][0] = self.buffer


class Slow(BaseRetargeter):
    """Passes a value on, slowly or never, and fails when it is told to."""

    def __init__(self, name, width=2, *, seconds=0.0, fail_at=None):
        self.width, self.seconds, self.fail_at = width, seconds, fail_at
        self.calls = 0
        self.hang = threading.Event()
        self.entered = threading.Event()
        self.release = threading.Event()
        super().__init__(name)

    def input_spec(self):
        return {"value": vector("value", self.width)}

    def output_spec(self):
        return {"action": vector("action", self.width)}

    def _compute_fn(self, inputs, outputs, context):
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("the solver did not converge")
        if self.hang.is_set():
            self.entered.set()
            self.release.wait(30.0)
        time.sleep(self.seconds)
        outputs["action"][0] = np.asarray(inputs["value"][0], dtype=np.float32).copy()


def pedals_pipeline(name="pedals", width=2):
    source = Generic3AxisPedalSource(name)
    retargeter = PedalsToAction("to_action", width)
    graph = retargeter.connect({"pedals": source.output("pedals")})
    graph.retargeter = retargeter
    return graph


def pedals_with_control(name="pedals"):
    """Left pedal runs and pauses, the right one resets, the rudder kills."""
    source = Generic3AxisPedalSource(name)
    retargeter = PedalsToAction("to_action")
    graph = retargeter.connect({"pedals": source.output("pedals")})
    graph.retargeter = retargeter
    manager = DefaultTeleopStateManager("manager")

    def button(index):
        return create_bool_selector(
            source.output("pedals"),
            name=f"button_{index}",
            selector_fn=lambda pedals: bool(pedals[index] > 0.5),
            activate_frames=1,
            deactivate_frames=1,
        ).output("value")

    control = manager.connect(
        {
            manager.INPUT_RUN_TOGGLE: button(0),
            manager.INPUT_RESET: button(1),
            manager.INPUT_KILL: button(2),
        }
    )
    return graph, control


def external_pipeline(name="robot", **options):
    leaf = ValueInput(name, vector("value", options.get("width", 2)))
    retargeter = Slow("slow", **options)
    graph = retargeter.connect({"value": leaf.output("value")})
    graph.retargeter = retargeter
    return graph


def two_outputs():
    source = Generic3AxisPedalSource("pedals")
    left, right = PedalsToAction("left", 1), PedalsToAction("right", 2)
    pedals = source.output("pedals")
    return OutputCombiner(
        {
            "arm": left.connect({"pedals": pedals}).output("action"),
            "hand": right.connect({"pedals": pedals}).output("action"),
        }
    )
