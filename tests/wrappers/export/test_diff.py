"""Differences between contracts."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings

from holdstep.wrappers.export.contract import Constant, ModelFile, TensorSpec
from holdstep.wrappers.export.diff import diff_contracts
from tests.wrappers.export.contracts import contract_of, contracts


@given(contracts())
@settings(max_examples=30, deadline=None)
def test_a_contract_does_not_differ_from_itself(contract):
    assert diff_contracts(contract, contract) == ()


def test_differences_name_their_place_and_whom_they_concern():
    before = contract_of()
    positions, *others = before.inputs
    after = contract_of(
        task="other",
        decimation=2,
        physics_dt=0.01,
        inputs=(
            dataclasses.replace(positions, unit="deg"),
            others[1],
            TensorSpec.of("command:gait", (1,)),
        ),
        constants=(dataclasses.replace(before.constants[0], digest="b"),),
        models=(ModelFile("other.onnx", "torch-onnx", "policy", ("a",), ("b",)),),
    )
    found = {str(difference): difference.concern for difference in diff_contracts(before, after)}
    assert found == {
        "~ physics_dt: 0.005 -> 0.01": "host",
        "~ decimation: 4 -> 2": "host",
        "~ inputs[state:robot:joint_pos].unit: 'joint' -> 'deg'": "host",
        "- inputs[state:robot:root_link_quat_w]": "host",
        "+ inputs[command:gait]": "host",
        "~ constants[state:robot:default_joint_pos: default_joint_pos].digest: None -> 'b'": (
            "behaviour"
        ),
        "- models[policy.onnx]": "behaviour",
        "+ models[other.onnx]": "behaviour",
        "~ task: 'holdstep:Hopper' -> 'other'": "information",
    }
    concerns = list(found.values())
    assert concerns == sorted(concerns, key=["host", "behaviour", "information"].index)


def test_another_order_is_one_difference():
    before = contract_of()
    after = contract_of(inputs=before.inputs[::-1])
    (difference,) = diff_contracts(before, after)
    assert difference.place == "inputs (order)"
    assert difference.after[0] == "command:twist"


def test_joints_in_another_order_concern_hosts():
    before = contract_of()
    reversed_joints = dataclasses.replace(
        before.outputs[0], element_names=before.outputs[0].element_names[::-1]
    )
    (difference,) = diff_contracts(
        before, contract_of(outputs=(reversed_joints, before.outputs[1]))
    )
    assert difference.concern == "host"
    assert difference.place.endswith("element_names")


def test_constants_that_share_a_name_are_kept_apart():
    two = (Constant("c", "s", (1,), digest="a"), Constant("c", "s", (1,), digest="b"))
    assert diff_contracts(contract_of(constants=two), contract_of(constants=two)) == ()
    (difference,) = diff_contracts(contract_of(constants=two), contract_of(constants=two[:1]))
    assert difference.kind == "removed"
