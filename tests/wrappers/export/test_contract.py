"""What a contract refuses to be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from holdstep.errors import ContractError
from holdstep.wrappers.export.connections import Connection
from holdstep.wrappers.export.contract import (
    Actuator,
    Memory,
    ModelFile,
    TensorSpec,
)
from tests.wrappers.export.contracts import JOINTS, contract_of


def test_parts_are_frozen_and_named_after_their_connections():
    spec = TensorSpec.of("sensor:robot/imu:data", (3,))
    assert spec.name == "sensor_robot_imu_data"
    assert spec.parsed_connection == Connection("sensor", ("robot/imu", "data"))
    assert spec.size == 3
    assert TensorSpec.of("command:gait", ()).size == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"
    assert Memory(TensorSpec.of("memory:h", (2,))).update_name == "memory_h_next"


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        ("joint_pos", "must begin with one of"),
        ("state:robot", "state:<entity>:<property>"),
        ("state:robot:joint_pos:extra", "state:<entity>:<property>"),
        ("state::joint_pos", "state:<entity>:<property>"),
        ("state: robot:joint_pos", "state:<entity>:<property>"),
        ("command", "command:<name>"),
        ("action:raw", "must look like action"),
        ("write:robot:set\nx", "write:<entity>:<method>"),
        ("", "must begin with one of"),
        ("state:" + "x" * 400 + ":y", "at most 300 characters"),
    ],
)
def test_connections_that_mean_nothing_are_refused(connection, words):
    with pytest.raises(ContractError, match=words):
        TensorSpec("name", connection, "float32", (3,))
    with pytest.raises(ContractError, match=words):
        Connection.parse(connection)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "node/in"}, "letters, digits and underscores"),
        ({"dtype": "float31"}, "must be one of float16"),
        ({"shape": [3]}, "must be a tuple"),
        ({"shape": (3.0,)}, r"shape\[0\]: must be an integer"),
        ({"shape": (True,)}, "must be an integer"),
        ({"shape": (np.int64(3),)}, "must be an integer"),
        ({"shape": (-1,)}, "sizes of a row"),
        ({"shape": (1 << 13, 1 << 13)}, "at most 16777216 numbers"),
        ({"element_names": ("a", "b")}, "got 2 names"),
        ({"element_names": ("a", "b", "a")}, "must not repeat: a"),
        ({"quaternion_order": "wxyz"}, "has 4 entries"),
        ({"quaternion_order": "zyxw", "shape": (4,)}, "must be one of wxyz, xyzw"),
        ({"unit": "m\x00"}, "only characters that can be printed"),
        ({"unit": "m" * 3000}, "at most 2000 characters"),
    ],
)
def test_tensors_that_make_no_sense_are_refused(changes, words):
    given = {"name": "x", "connection": "command:x", "dtype": "float32", "shape": (3,)}
    with pytest.raises(ContractError, match=words):
        TensorSpec(**(given | changes))


def test_a_reset_row_has_the_numbers_of_a_row():
    spec = TensorSpec.of("memory:h", (2, 2))
    assert Memory(spec, (0.0, 1.0, 2.0, 3.0)).reset == (0.0, 1.0, 2.0, 3.0)
    with pytest.raises(ContractError, match="4 numbers of one row, got 3"):
        Memory(spec, (0.0, 1.0, 2.0))
    with pytest.raises(ContractError, match="finite"):
        Memory(spec, (0.0, 1.0, 2.0, float("inf")))
    with pytest.raises(ContractError, match="NaN"):
        Memory(spec, (0.0, 1.0, 2.0, float("nan")))
    with pytest.raises(ContractError, match="begins with 'memory:'"):
        Memory(TensorSpec.of("command:h", (2,)))


@pytest.mark.parametrize(
    "file",
    [
        "../policy.onnx",
        "/etc/passwd",
        "a/../../b.onnx",
        "..",
        ".",
        "",
        "a//b.onnx",
        "~/policy.onnx",
        "C:\\policy.onnx",
        "C:policy.onnx",
        "sub\\policy.onnx",
        "policy.onnx\n",
        ".hidden",
        "a/" * 9 + "b",
        "\uff0e\uff0e/policy.onnx",
    ],
)
def test_model_paths_stay_in_the_folder(file):
    with pytest.raises(ContractError, match="inside the contract's folder"):
        ModelFile(file, "torch-onnx", "policy", (), ())


def test_models_say_what_they_run():
    model = ModelFile("sub/policy-v1.2.onnx", "torch-onnx", "policy", ("a",), ("b",), 4)
    assert model.batch == 4
    with pytest.raises(ContractError, match="must be one of policy, apply"):
        ModelFile("policy.onnx", "torch-onnx", "other", (), ())
    with pytest.raises(ContractError, match="at least 1"):
        ModelFile("policy.onnx", "torch-onnx", "policy", (), (), 0)
    with pytest.raises(ContractError, match="64 hexadecimal digits"):
        ModelFile("policy.onnx", "torch-onnx", "policy", (), (), None, "abc")


@pytest.mark.parametrize("order", [("a",), ("a", "a"), ("a", "c"), ("a", "b", "b")])
def test_the_order_of_a_file_has_each_of_its_tensors_once(order):
    model = ModelFile("p.pt", "jit", "policy", ("a", "b"), ("c",), input_order=("b", "a"))
    assert model.input_order == ("b", "a")
    with pytest.raises(ContractError, match=r"input_order: must have each of a, b once, got a"):
        ModelFile("p.pt", "jit", "policy", ("a", "b"), ("c",), input_order=order)
    with pytest.raises(ContractError, match=r"output_order: must have each of a, b once, got a"):
        ModelFile("p.pt", "jit", "policy", ("c",), ("a", "b"), output_order=order)


@pytest.mark.parametrize("dims", [(2,), (-1,), (0, 0)])
def test_rows_are_a_dimension_that_a_memory_has(dims):
    memories = (Memory(TensorSpec.of("memory:kept", (3,))),)
    model = ModelFile("p.pt", "jit", "policy", ("a",), ("b",), memory_row_dims=(1,))
    assert contract_of(memories=memories, models=(model,)).models == (model,)
    wrong = dataclasses.replace(model, memory_row_dims=dims)
    with pytest.raises(ContractError, match=r"each of the 1 memories, at most \[1\], got"):
        contract_of(memories=memories, models=(wrong,))


def test_actuators_have_a_number_for_each_joint():
    assert Actuator("robot", JOINTS, "effort").stiffness == ()
    with pytest.raises(ContractError) as caught:
        Actuator("robot", JOINTS, "dc_motor", (1.0,), (1.0, 1.0, 1.0), velocity_limit=(-1.0,) * 3)
    assert len(caught.value.problems) == 3  # stiffness, velocity limit, saturation


def test_a_contract_lists_all_that_is_wrong_at_once():
    spec = TensorSpec.of("write:robot:set_joint_position_target", (3,))
    good = TensorSpec.of("state:robot:joint_pos", (3,))
    with pytest.raises(ContractError) as caught:
        contract_of(
            version=2,
            step_dt=0.03,
            inputs=(good, good, spec),
            outputs=(),
            apply_inputs=(TensorSpec.of("apply:gone", (3,)),),
            models=(
                ModelFile("Policy.onnx", "torch-onnx", "policy", (), ()),
                ModelFile("policy.onnx", "torch-onnx", "apply", (), ()),
            ),
        )
    text = str(caught.value)
    for words in (
        "version: must be 1, got 2",
        "step_dt: must be physics_dt * decimation = 0.02, got 0.03",
        "inputs[2].connection: must begin with one of state",
        "inputs[1].connection: 'state:robot:joint_pos' is there twice",
        "inputs[1].name: 'state_robot_joint_pos' is there twice",
        "outputs: a contract without outputs does nothing",
        "apply_inputs[0].connection: 'apply:gone' is read from nowhere",
        "apply_outputs: is empty, but there are apply_inputs",
        "models[1].graph: the contract has no apply_outputs",
        "models[1].file: 'policy.onnx' is there twice",
    ):
        assert words in text


def test_clocks_are_positive_and_finite():
    for changes in (
        {"step_dt": 0.0},
        {"physics_dt": float("inf")},
        {"decimation": 0},
        {"traced_num_envs": 0},
    ):
        with pytest.raises(ContractError, match=r"must be (a positive|at least 1)"):
            contract_of(**changes)


def test_an_apply_graph_takes_what_the_policy_graph_computed():
    contract = contract_of(
        outputs=(TensorSpec.of("apply:delta", (3,)),),
        apply_inputs=(
            TensorSpec.of("apply:delta", (3,)),
            TensorSpec.of("memory:last_action", (3,)),
            TensorSpec.of("state:robot:joint_pos", (3,)),
        ),
        apply_outputs=(TensorSpec.of("write:robot:set_joint_position_target", (3,)),),
        models=(
            ModelFile("policy.onnx", "torch-onnx", "policy", (), ()),
            ModelFile("apply.onnx", "torch-onnx", "apply", (), ()),
        ),
    )
    assert contract.has_apply_graph
    assert [spec.connection for spec in contract.writes] == [
        "write:robot:set_joint_position_target"
    ]
    with pytest.raises(ContractError, match="none of them is the apply graph"):
        dataclasses.replace(contract, models=contract.models[:1])


def test_an_update_of_a_memory_can_not_be_mistaken_for_another_tensor():
    with pytest.raises(ContractError, match="'memory_h_next' is there twice"):
        contract_of(
            memories=(
                Memory(TensorSpec.of("memory:h", (1,))),
                Memory(TensorSpec.of("memory:h_next", (1,))),
            )
        )
