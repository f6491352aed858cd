"""Exports in Isaac Lab's form, written by leapp itself, become contracts that run."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from holdstep.envs import DeploymentEnv
from holdstep.errors import ContractError
from holdstep.wrappers.export.contract_file import read_contract, write_contract
from holdstep.wrappers.export.isaaclab_export import read_isaaclab_export
from tests.envs.deployment.fakes import FakeHost

TASK = "Isaac-Hopper-v0"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An export as Isaac Lab's script makes one; in a process of its own, since leapp is global."""
    pytest.importorskip("leapp", reason="the extra 'export' is not installed")
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    out = tmp_path_factory.mktemp("leapp")
    script = Path(__file__).with_name("leapp_script.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out / TASK / f"{TASK}.yaml"


@pytest.fixture
def file(exported, tmp_path):
    shutil.copytree(exported.parent, tmp_path / "export")
    return tmp_path / "export" / exported.name


def read(file, **changes):
    return read_isaaclab_export(file, **({"physics_dt": 0.005, "decimation": 4} | changes))


def test_connections_become_inputs_memories_and_outputs(file):
    contract = read(file)
    assert contract.task == TASK
    assert [spec.connection for spec in contract.inputs] == [
        "state:robot:joint_pos",
        "state:robot:root_quat_w",
        "command:twist",
    ]
    joints, quaternion, _ = contract.inputs
    assert joints.element_names == ("hip", "knee", "ankle")
    assert (quaternion.shape, quaternion.quaternion_order) == ((4,), "xyzw")
    (memory,) = contract.memories
    assert (memory.spec.connection, memory.kind) == ("memory:last_action_in", "last_action")
    (target,) = contract.outputs
    assert target.connection == "write:robot:set_joint_position_target_index"
    assert contract.models[0].batch == 1
    assert contract.step_dt == pytest.approx(0.02)
    write_contract(contract, file.parent)
    assert read_contract(file.parent) == contract


def test_it_runs_like_the_policy_that_was_exported(exported, file):
    contract = read(file)
    write_contract(contract, file.parent)
    host = FakeHost(("ankle", "knee", "hip"), num_envs=2)
    read_source, find_target = host.source, host.target

    def source(connection):
        if connection.attribute == "root_quat_w":
            connection = type(connection)("state", ("robot", "root_link_quat_w"))
        return read_source(connection)

    def target(connection):
        assert connection.attribute == "set_joint_position_target_index"
        return find_target(type(connection)("write", ("robot", "set_joint_position_target")))

    host.source, host.target = source, target
    weights = torch.load(exported.parent.parent / "weights.pt", weights_only=True)
    twist = torch.tensor([[0.1, 0.2, 0.3], [-0.4, 0.5, 0.0]])
    with DeploymentEnv(host, file.parent, commands={"twist": twist}) as env:
        env.reset()
        last = torch.zeros(2, 3)
        for step in range(4):
            if step == 2:
                env.reset([1])
                last[1] = 0
            # Its own names and order: hip knee ankle, and x, y, z, w.
            seen = torch.cat([host.pos[:, [2, 1, 0]], twist, host.quat[:, [1, 2, 3, 0]], last], 1)
            last = torch.tanh(seen @ weights["l.weight"].T + weights["l.bias"])
            outputs = env.step()
            expected = 0.25 * last + 0.1
            computed = outputs["write:robot:set_joint_position_target_index"]
            assert torch.allclose(computed, expected, atol=1e-6)
            assert torch.allclose(host.target_pos, expected[:, [2, 1, 0]], atol=1e-6)


def without(content, *path):
    node = content
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]


NODE = ("models", TASK)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: without(c, "models"), "models: must be a mapping"),
        (lambda c: c["models"].update(other={}), "must be exactly one, got 2"),
        (lambda c: without(c, *NODE, "inputs", 0, "isaaclab_connection"), "has no isaaclab_conn"),
        (lambda c: without(c, *NODE, "inputs", 0, "shape"), "robot_joint_pos: has no shape"),
        (
            lambda c: c["models"][TASK]["inputs"][0].update(isaaclab_connection="joint_pos"),
            "is no connection",
        ),
        (lambda c: c["models"][TASK]["inputs"][0].update(dtype="int128"), "must be one of float16"),
        (lambda c: c["models"][TASK]["inputs"][0].update(shape=[2, 3]), "same leading dimension"),
        (
            lambda c: c["models"][TASK]["parameters"].update(model_path="../../etc/x.onnx"),
            "does not lie next to",
        ),
        (lambda c: c["models"][TASK]["parameters"].update(model_path="x.so"), "must end in .onnx"),
        (
            lambda c: c["pipeline"].update(feedback_flow={f"{TASK}/a": [f"{TASK}/b"]}),
            "joins nothing",
        ),
        (
            lambda c: c["models"][TASK]["inputs"].append(c["models"][TASK]["inputs"][0]),
            "must have a name of its own",
        ),
    ],
)
def test_what_can_not_be_run_is_named(file, change, words):
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(copy.deepcopy(content)))
    with pytest.raises(ContractError, match=words):
        read(file)


def test_names_that_do_not_fit_are_said_aloud(file):
    content = yaml.safe_load(file.read_text())
    content["models"][TASK]["inputs"][0]["element_names"] = [["hip", "knee"]]
    file.write_text(yaml.safe_dump(content))
    contract = read(file)
    assert contract.inputs[0].element_names is None
    (check,) = contract.checks
    assert (check.name, check.status) == ("element_names", "skipped")
    assert "the names of state:robot:joint_pos do not fit" in check.detail


LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 8)
)
"""A kilobyte that has 10^8 names without its aliases."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, r"line 6: with its aliases .* more than 2097152 characters"),
        ("a: &a [1, *a]", "line 1: an alias .* part of"),
        ("a: 1\nb: &b {c: *b}", "line 2: an alias"),
    ],
)
def test_aliases_do_not_make_a_small_file_huge(tmp_path, text, words):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ContractError, match=words):
        read(tmp_path / "x.yaml")


def test_what_is_no_text_is_not_made_one(file):
    content = yaml.safe_load(file.read_text())
    huge = [["x" * 1000] * 20] * 2
    model = content["models"][TASK]
    model["inputs"][0].update(kind=huge, element_names=[[huge] * 3])
    model["parameters"]["backend"] = huge
    content["system information"] = {"leapp version": huge}
    file.write_text(yaml.safe_dump(content))
    contract = read(file)
    assert contract.inputs[0].kind is None
    assert contract.created_with == {}
    assert len(str(contract)) < 10_000


@pytest.mark.parametrize(
    "text", ["", "[]", "{models: 3, pipeline: 4}", "a: [", "\x00", "a: " + "[" * 2000]
)
def test_what_is_no_export_is_a_contract_error(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ContractError):
        read(tmp_path / "x.yaml")
    with pytest.raises(ContractError, match="can't be read"):
        read(tmp_path / "gone.yaml")


def test_histories_that_can_not_be_filled_are_said_aloud(file):
    text = file.read_text().replace("last_action_in", "h_policy_joint_pos")
    file.write_text(text)
    contract = read(file)
    (check,) = contract.checks
    assert "h_policy_joint_pos begin with zeros" in check.detail
