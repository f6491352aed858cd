"""Sensors of a plain MuJoCo model: which one is meant, and what it reads."""

from __future__ import annotations

import pytest

from holdstep.envs.deployment.host import NotAtHostError
from holdstep.envs.deployment.wiring import Wiring
from holdstep.wrappers.export.connections import Connection
from holdstep.wrappers.export.contract import TensorSpec
from tests.envs.deployment.robots import arm, host_of

pytest.importorskip("mujoco", reason="the extra 'mujoco' is not installed")


def arm_with(sensors, *, prefix=""):
    xml = arm(prefix=prefix).replace("</sensor>", f"{sensors}</sensor>")
    return host_of(xml=xml, prefixes={"robot": prefix})


def source_of(host, name):
    return host.source(Connection("sensor", (name, "data")))


def test_a_sensor_of_another_entity_is_not_read_instead():
    host = arm_with('<gyro name="payload/imu" site="imu"/>')
    with pytest.raises(NotAtHostError, match=r"no sensor 'robot/imu'.*it has gyro, payload/imu"):
        source_of(host, "robot/imu")
    assert source_of(host, "payload/imu").note is None


@pytest.mark.parametrize(
    ("wanted", "prefix", "there"),
    [("robot/gyro", "", "gyro"), ("gyro", "robot/", "robot/gyro")],
)
def test_a_sensor_without_a_prefix_is_found_and_noted(wanted, prefix, there):
    host = arm_with("", prefix=prefix)
    assert source_of(host, wanted).note == f"the sensor {there!r} of the model is read."
    wiring = Wiring(host)
    wiring.reader(TensorSpec.of(f"sensor:{wanted}:data", (3,), unit="rad/s", frame="sensor"))
    assert wiring.problems == []
    assert any(there in note for note in wiring.notes)


def test_several_sensors_that_may_be_meant_are_refused():
    host = arm_with('<gyro name="a/imu" site="imu"/><gyro name="b/imu" site="imu"/>')
    with pytest.raises(NotAtHostError, match=r"no sensor 'imu', or several.*a/imu, b/imu"):
        source_of(host, "imu")


@pytest.mark.parametrize("order", ["wxyz", "xyzw"])
def test_an_orientation_is_given_in_the_contracts_order(order):
    host = arm_with('<framequat name="tilt" objtype="site" objname="imu"/>')
    spec = TensorSpec.of("sensor:tilt:data", (4,), unit="1", quaternion_order=order)
    wiring = Wiring(host)
    read = wiring.reader(spec)
    assert wiring.problems == []
    host.data.qpos[3:7] = [0.5, 0.5, -0.5, 0.5]
    host.refresh()
    expected = [0.5, 0.5, -0.5, 0.5] if order == "wxyz" else [0.5, -0.5, 0.5, 0.5]
    assert read()[0].tolist() == pytest.approx(expected)


def test_units_and_frames_of_sensors_are_known():
    value = source_of(arm_with(""), "gyro").value
    assert (value.unit, value.frame, value.element_names) == ("rad/s", "sensor", ("x", "y", "z"))
