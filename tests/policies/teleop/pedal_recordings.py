"""Recordings of three foot pedals, made as isaacteleop makes them, with its own schema."""

import re
from pathlib import Path

import flatbuffers
from flatbuffers import encode, packer
from flatbuffers.table import Table
from mcap.writer import CompressionType, Writer

PEDALS = "core.Generic3AxisPedalOutputRecord"
STEP_NS = 20_000_000


def schemas():
    """The binary FlatBuffers schemas in isaacteleop's library, by the name of their root table."""
    import isaacteleop.deviceio_session

    folder = Path(isaacteleop.deviceio_session.__file__).parent
    library = next(folder.glob("*.so")).read_bytes()
    starts = [found.start() - 4 for found in re.finditer(b"BFBS", library)]
    ends = [*starts[1:], starts[-1] + 4096]
    found = {}
    for start, end in zip(starts, ends, strict=True):
        schema = library[start:end]
        root = Table(schema, encode.Get(packer.uoffset, schema, 0))
        if not 0 < root.Pos < len(schema):
            continue  # the four letters in the code that looks for them
        table = Table(schema, root.Indirect(root.Pos + root.Offset(12)))
        name = table.String(table.Pos + table.Offset(4)).decode()
        found.setdefault(name, schema)
    return found


def pedal_record(pedals, time_ns):
    """One message: the left pedal, the right one and the rudder; None where tracking was lost."""
    builder = flatbuffers.Builder(128)
    if pedals is not None:
        builder.StartObject(3)
        for slot, value in enumerate(pedals):
            builder.PrependFloat32Slot(slot, value, 0.0)
        data = builder.EndObject()
    builder.StartObject(2)
    if pedals is not None:
        builder.PrependUOffsetTRelativeSlot(0, data, 0)
    builder.Prep(8, 24)
    for _ in range(3):  # available, sampled, and by the device's own clock
        builder.PrependInt64(time_ns)
    builder.PrependStructSlot(1, builder.Offset(), 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def write_pedals(
    path, frames, *, source="pedals", schema=None, schema_name=PEDALS, compression=None, finish=True
):
    """Write a recording of one source; ``finish=False`` as if the recorder had been killed."""
    with Path(path).open("wb") as file:
        writer = Writer(file, compression=compression or CompressionType.NONE, use_chunking=finish)
        writer.start(profile="teleop", library="holdstep's tests")
        schema_id = writer.register_schema(
            schema_name, "flatbuffer", schemas()[PEDALS] if schema is None else schema
        )
        channel_id = writer.register_channel(f"{source}/pedals_tracked", "flatbuffer", schema_id)
        for number, pedals in enumerate(frames):
            time_ns = number * STEP_NS
            writer.add_message(
                channel_id, time_ns, pedal_record(pedals, time_ns), time_ns, sequence=number
            )
        if finish:
            writer.finish()
    return path
