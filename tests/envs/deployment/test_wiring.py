"""Names matched, quaternions converted."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdstep.envs.deployment.host import HostSource, HostValue
from holdstep.envs.deployment.matching import match_elements
from holdstep.envs.deployment.quaternions import reordering
from holdstep.envs.deployment.wiring import Wiring
from holdstep.wrappers.export.contract import TensorSpec
from tests.envs.deployment.fakes import FakeHost

names = st.lists(st.text("abcdef_", min_size=1, max_size=5), min_size=1, max_size=8, unique=True)


@given(names, st.randoms())
def test_elements_are_found_in_any_order_and_among_others(wanted, random):
    there = [*wanted, "X1", "X2"]
    random.shuffle(there)
    match = match_elements(wanted, there)
    assert [there[index] for index in match.ids] == wanted
    assert set(match.extra) == {"X1", "X2"}
    assert match.problems == ()


@pytest.mark.parametrize(
    ("wanted", "there", "words"),
    [
        (["hip", "knee"], ["hip"], "missing at the host: knee."),
        (["hipp"], ["hip", "knee"], "Did you mean: hip?"),
        (["hip"], ["left/hip", "right/hip"], "'hip' is ambiguous: left/hip, right/hip"),
        (["hip"], ["hip", "hip"], "'hip' is ambiguous"),
        (["hip", "robot/hip"], ["hip"], "'hip' stands for 2 of the contract's names"),
    ],
)
def test_what_is_missing_or_ambiguous_is_listed(wanted, there, words):
    assert any(words in problem for problem in match_elements(wanted, there).problems)


def test_folders_before_a_name_do_not_matter_while_it_is_one():
    assert match_elements(["hip"], ["robot/hip", "robot/knee"]).ids == (0,)
    assert match_elements(["robot/hip"], ["knee", "hip"]).ids == (1,)
    # A whole name comes before the ending of another.
    assert match_elements(["hip"], ["left/hip", "hip"]).ids == (1,)
    assert match_elements(["left/hip"], ["right/hip"]).problems != ()


@given(st.sampled_from(["wxyz", "xyzw"]), st.sampled_from([4, 7, 13]))
def test_there_and_back_is_the_same(order, width):
    other = "xyzw" if order == "wxyz" else "wxyz"
    there, back = reordering(width, order, other), reordering(width, other, order)
    assert [there[index] for index in back] == list(range(width))
    assert reordering(width, order, order) is None


def test_quaternions_of_many_bodies_are_converted_where_they_stand():
    class Bodies(FakeHost):
        def source(self, connection):
            value = torch.arange(2 * 2 * 7.0).reshape(2, 2, 7)
            return HostSource(
                HostValue((2, 7), ("foot", "base"), "m", "world", "xyzw"), lambda: value
            )

    spec = TensorSpec.of(
        "state:robot:body_link_pose_w",
        (2, 7),
        quaternion_order="wxyz",
        element_names=("base", "foot"),
    )
    wiring = Wiring(Bodies())
    read = wiring.reader(spec)
    assert wiring.problems == []
    assert read()[0].tolist() == [[7, 8, 9, 13, 10, 11, 12], [0, 1, 2, 6, 3, 4, 5]]


def test_a_wrong_order_of_named_components_is_converted_once():
    # Both the names and the order say what is where: only one of them may reorder.
    spec = TensorSpec.of(
        "state:robot:root_link_quat_w",
        (4,),
        quaternion_order="wxyz",
        element_names=("w", "x", "y", "z"),
    )
    wiring = Wiring(FakeHost(quaternion_order="xyzw"))
    assert wiring.reader(spec)()[0].tolist() == pytest.approx([0.5, 0.1, 0.2, 0.3])


def test_a_host_without_names_is_trusted_aloud():
    class Nameless(FakeHost):
        def source(self, connection):
            return HostSource(HostValue((3,)), lambda: torch.zeros(2, 3))

    wiring = Wiring(Nameless())
    wiring.reader(TensorSpec.of("sensor:imu:data", (3,), element_names=("x", "y", "z")))
    assert wiring.notes == []
    wiring.reader(TensorSpec.of("sensor:feet:data", (3,), element_names=("a", "b", "c")))
    assert "taken in the contract's order: a, b, c" in wiring.notes[0]


def test_a_value_that_changes_its_shape_is_not_passed_on():
    host = FakeHost()
    spec = TensorSpec.of("state:robot:joint_pos", (3,), element_names=host.joint_names)
    read = Wiring(host).reader(spec)
    host.pos = torch.zeros(2, 4)
    with pytest.raises(RuntimeError, match=r"declared as \[2, 3\] and is \[2, 4\]"):
        read()


@pytest.mark.parametrize("joints", [("hip", "knee", "ankle"), ("x", "y", "z")])
def test_joints_without_names_are_not_taken_by_position(joints):
    wiring = Wiring(FakeHost(joints))
    wiring.reader(TensorSpec.of("state:robot:joint_pos", (3,)))
    wiring.writer(TensorSpec.of("write:robot:set_joint_position_target", (3,)))
    (read, written) = wiring.problems
    listed = ", ".join(joints)
    assert f"joint_pos: the contract does not name its elements, fake has {listed}" in read
    assert "Write element_names into the contract" in written


def test_one_joint_or_the_parts_of_a_vector_need_no_names():
    wiring = Wiring(FakeHost(("hip",)))
    wiring.reader(TensorSpec.of("state:robot:joint_pos", (1,)))
    wiring.reader(TensorSpec.of("state:robot:root_link_quat_w", (4,), quaternion_order="wxyz"))
    assert wiring.problems == []


@pytest.mark.parametrize(("there", "fits"), [("body", True), ("world", False)])
def test_a_sensors_axes_may_be_those_of_its_body(there, fits):
    class Imu(FakeHost):
        def source(self, connection):
            return HostSource(HostValue((3,), frame=there), lambda: torch.zeros(2, 3))

    wiring = Wiring(Imu())
    wiring.reader(TensorSpec.of("sensor:imu:data", (3,), frame="sensor"))
    assert (wiring.problems == []) == fits
    assert any("if the sensor's axes are the body's" in note for note in wiring.notes) == fits


def test_the_contracts_names_are_kept_for_what_the_host_calls_otherwise():
    wiring = Wiring(
        FakeHost(("robot/ankle", "hip", "kneecap"), entity="leg"),
        {"write:robot:set_joint_position_target": "write:leg:set_joint_position_target"},
        {"knee": "kneecap"},
    )
    joints = ("hip", "knee", "ankle")
    wiring.writer(
        TensorSpec.of("write:robot:set_joint_position_target", (3,), element_names=joints)
    )
    assert wiring.problems == []
    assert wiring.contract_names == {
        ("leg", "hip"): ("robot", "hip"),
        ("leg", "kneecap"): ("robot", "knee"),
        ("leg", "robot/ankle"): ("robot", "ankle"),
    }
