"""Reading by name from a scene's objects."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from holdstep.envs.deployment.host import NotAtHostError
from holdstep.envs.deployment.simulator_values import SimulatorValues
from holdstep.wrappers.export.connections import Connection
from holdstep.wrappers.export.semantics.entry import WXYZ, state
from holdstep.wrappers.export.semantics.lookup import SemanticsLookup, tables_of


class JointData:
    """An entity's data that know nothing of mjlab's own names."""

    joint_pos = torch.tensor([[0.25]])


@pytest.fixture
def scene():
    camera = SimpleNamespace(data=SimpleNamespace(output={"rgb": torch.full((1, 2, 2, 3), 0.5)}))
    imu = SimpleNamespace(data=torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    robot = SimpleNamespace(data=JointData())
    return SimpleNamespace(entities={"robot": robot}, sensors={"cam": camera, "imu": imu})


def values_of(scene, **options):
    lookup = SemanticsLookup(tables_of("isaaclab3"))
    return SimulatorValues(scene, lookup, num_envs=1, host="fake", **options)


def test_an_entry_of_a_dictionary_is_read_anew_each_time(scene):
    source = values_of(scene).source(Connection.parse("sensor:cam:output.rgb"))
    assert source.value.shape == (2, 2, 3)
    later = torch.ones(1, 2, 2, 3)
    scene.sensors["cam"].data = SimpleNamespace(output={"rgb": later})
    assert torch.equal(source.read(), later)
    with pytest.raises(NotAtHostError, match=r"gives no 'output\.depth' \('depth'\)"):
        values_of(scene).source(Connection.parse("sensor:cam:output.depth"))


def test_a_sensor_means_what_its_type_does(scene):
    meaning = state("orientation", "1", quaternion_order="wxyz", elements=WXYZ)
    values = values_of(scene, sensor_semantics=lambda sensor: meaning)
    value = values.source(Connection.parse("sensor:imu:data")).value
    assert (value.quaternion_order, value.unit, value.element_names) == ("wxyz", "1", WXYZ)


def test_mjlabs_encoders_are_read_without_their_simulated_error_elsewhere(scene):
    source = values_of(scene).source(Connection.parse("state:robot:joint_pos_biased"))
    assert source.read().item() == 0.25
