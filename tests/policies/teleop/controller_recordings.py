"""Recordings of two motion controllers, made as isaacteleop makes them, with its own schema."""

import struct
from pathlib import Path

import flatbuffers
import numpy as np
from mcap.writer import CompressionType, Writer

from tests.policies.teleop.pedal_recordings import STEP_NS, schemas

CONTROLLERS = "core.ControllerSnapshotRecord"
BUTTONS = ("primary_click", "secondary_click", "thumbstick_click", "menu_click")
AXES = ("thumbstick_x", "thumbstick_y", "squeeze_value", "trigger_value")


def put_struct(builder, slot, data, *, alignment=4):
    builder.Prep(alignment, len(data))
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    builder.PrependStructSlot(slot, builder.Offset(), 0)


def controller_record(controller, time_ns):
    """One message; None where tracking was lost.

    Args:
        controller: ``position`` and ``orientation`` (x, y, z, w) of grip and aim, and any of the
            buttons and axes by name.
    """
    builder = flatbuffers.Builder(256)
    if controller is not None:
        pose = (
            *controller.get("position", (0, 0, 0)),
            *controller.get("orientation", (0, 0, 0, 1)),
        )
        pose_bytes = struct.pack("<7f?3x", *pose, True)
        buttons = [bool(controller.get(name)) for name in BUTTONS]
        axes = [controller.get(name, 0.0) for name in AXES]
        builder.StartObject(3)
        put_struct(builder, 0, pose_bytes)
        put_struct(builder, 1, pose_bytes)
        put_struct(builder, 2, struct.pack("<4?4f", *buttons, *axes))
        data = builder.EndObject()
    builder.StartObject(2)
    if controller is not None:
        builder.PrependUOffsetTRelativeSlot(0, data, 0)
    put_struct(builder, 1, struct.pack("<3q", *[time_ns] * 3), alignment=8)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def write_controllers(path, frames, *, source="controllers"):
    """Write a recording of a session with both controllers; each frame is (left, right)."""
    with Path(path).open("wb") as file:
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start(profile="teleop", library="holdstep's tests")
        schema_id = writer.register_schema(CONTROLLERS, "flatbuffer", schemas()[CONTROLLERS])
        channel_ids = [
            writer.register_channel(f"{source}/{side}_controller", "flatbuffer", schema_id)
            for side in ("left", "right")
        ]
        for number, frame in enumerate(frames):
            time_ns = number * STEP_NS
            for channel_id, controller in zip(channel_ids, frame, strict=True):
                record = controller_record(controller, time_ns)
                writer.add_message(channel_id, time_ns, record, time_ns, sequence=number)
        writer.finish()
    return path


def waving(num_frames, seed=0, *, lost=()):
    """Both controllers on their ways, with sticks and triggers; without tracking in ``lost``."""
    rng = np.random.default_rng(seed)

    def controller():
        return {
            "position": rng.uniform(-0.5, 0.5, 3),
            "orientation": (lambda q: q / np.linalg.norm(q))(rng.normal(size=4)),
            **dict(zip(AXES, rng.uniform(0, 1, 4), strict=True)),
        }

    return [
        (None, None) if number in lost else (controller(), controller())
        for number in range(num_frames)
    ]
