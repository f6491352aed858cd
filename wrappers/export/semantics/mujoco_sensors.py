"""What MuJoCo's own sensors read, by their type: for exports and for hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from holdstep.wrappers.export.semantics.entry import WXYZ, XYZ, Semantics, state

_SENSORS: Final[Mapping[str, Semantics]] = {
    "accelerometer": state("linear_acceleration", "m/s^2", frame="sensor", elements=XYZ),
    "velocimeter": state("linear_velocity", "m/s", frame="sensor", elements=XYZ),
    "gyro": state("angular_velocity", "rad/s", frame="sensor", elements=XYZ),
    "force": state("force", "N", frame="sensor", elements=XYZ),
    "torque": state("torque", "N m", frame="sensor", elements=XYZ),
    "magnetometer": state("magnetic_flux", "T", frame="sensor", elements=XYZ),
    "rangefinder": state("distance", "m"),
    "jointpos": state("joint_position", "joint"),
    "jointvel": state("joint_velocity", "joint/s"),
    "framepos": state("position", "m", elements=XYZ),
    "framequat": state("orientation", "1", quaternion_order="wxyz", elements=WXYZ),
    "framexaxis": state("axis", "1", elements=XYZ),
    "frameyaxis": state("axis", "1", elements=XYZ),
    "framezaxis": state("axis", "1", elements=XYZ),
    "framelinvel": state("linear_velocity", "m/s", elements=XYZ),
    "frameangvel": state("angular_velocity", "rad/s", elements=XYZ),
    "framelinacc": state("linear_acceleration", "m/s^2", elements=XYZ),
    "frameangacc": state("angular_acceleration", "rad/s^2", elements=XYZ),
    "subtreecom": state("position", "m", frame="world", elements=XYZ),
    "subtreelinvel": state("linear_velocity", "m/s", frame="world", elements=XYZ),
    "subtreeangmom": state("angular_momentum", "kg m^2/s", frame="world", elements=XYZ),
}


def sensor_semantics(model: Any, sensor: Any) -> Semantics | None:
    """What one of mjlab's sensors reads; None if it is none of MuJoCo's own.

    Args:
        model: the ``MjModel`` that it is in.
        sensor: a ``mjlab.sensor.BuiltinSensor``, or one of another class.
    """
    sensor_type = getattr(getattr(sensor, "cfg", None), "sensor_type", None)
    if sensor_type is not None:
        return _SENSORS.get(sensor_type)
    name = getattr(sensor, "_name", None)  # one that the robot's own file declares
    return None if name is None else mujoco_sensor_semantics(model, name)


def mujoco_sensor_semantics(model: Any, name: str) -> Semantics | None:
    """What a sensor of a model reads; None if there is none of that name or nothing is known of it.

    Args:
        model: an ``MjModel``.
        name: of the sensor.
    """
    import mujoco

    try:
        number = model.sensor(name).type[0]
    except KeyError:
        return None
    return _SENSORS.get(str(mujoco.mjtSensor(number).name).removeprefix("mjSENS_").lower())
