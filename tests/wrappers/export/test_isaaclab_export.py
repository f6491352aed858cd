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
METHODS = ("onnx-torchscript", "jit-trace", "jit-script", "exported-program")
RESET_AT = 3


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports as Isaac Lab's script makes them; in a process of its own, since leapp is global."""
    pytest.importorskip("leapp", reason="the extra 'export' is not installed")
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    out = tmp_path_factory.mktemp("leapp")
    script = Path(__file__).with_name("leapp_script.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(out), *METHODS],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture
def copied(exported, tmp_path):
    """Makes a copy of the export of a method; returns its ``.yaml``."""

    def make_one(method):
        shutil.copytree(exported / method / TASK, tmp_path / "export")
        return tmp_path / "export" / f"{TASK}.yaml"

    return make_one


@pytest.fixture
def file(copied):
    return copied("onnx-torchscript")


def read(file, **changes):
    return read_isaaclab_export(file, **({"physics_dt": 0.005, "decimation": 4} | changes))


@pytest.mark.parametrize("method", METHODS)
def test_connections_become_inputs_memories_and_outputs(copied, method):
    file = copied(method)
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
    suffix = "_in" if method.startswith("onnx") else ""  # there, outputs have names as well
    assert [(m.spec.connection, m.spec.shape, m.kind) for m in contract.memories] == [
        (f"memory:h_policy_joint_pos{suffix}", (4, 3), "history"),
        (f"memory:last_action{suffix}", (3,), "last_action"),
        (f"memory:actor_state{suffix}", (2, 5), "hidden"),
    ]
    assert [spec.connection for spec in contract.outputs] == [
        "write:robot:set_joint_position_target_index",
        "obs:target_kp_gains",
        "obs:target_kd_gains",
    ]
    assert contract.models[0].batch == 1
    assert contract.step_dt == pytest.approx(0.02)
    write_contract(contract, file.parent)
    assert read_contract(file.parent) == contract


def test_what_is_not_taken_over_is_said_aloud(file):
    history, gains = read(file).checks
    assert (history.name, history.status) == ("memories", "skipped")
    assert history.detail.startswith("h_policy_joint_pos_in begin with zeros")
    assert (gains.name, gains.status) == ("gains", "skipped")
    assert (
        "write:robot:write_joint_stiffness_to_sim_index, write:robot:write_joint_" in gains.detail
    )


@pytest.mark.parametrize("method", METHODS)
def test_it_runs_like_the_policy_that_was_exported(exported, copied, method):
    file = copied(method)
    write_contract(read(file), file.parent)
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
    expected = torch.load(exported / "reference.pt", weights_only=True)
    with DeploymentEnv(host, file.parent, allow_jit=True) as env:
        env.reset()
        for step, targets in enumerate(expected["targets"]):
            if step == RESET_AT:
                env.reset([1])
            # The host's own order of joints, and w, x, y, z.
            host.pos = expected["joint_pos"][step][:, [2, 1, 0]]
            host.quat = expected["quaternion"][step][:, [3, 0, 1, 2]]
            env.set_command("twist", expected["twist"][step])
            outputs = env.step()
            computed = outputs["write:robot:set_joint_position_target_index"]
            assert torch.allclose(computed, targets, atol=1e-6), step
            assert torch.allclose(host.target_pos, targets[:, [2, 1, 0]], atol=1e-6)
            assert torch.equal(outputs["obs:target_kp_gains"], torch.full((2, 3), 20.0))


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
            lambda c: c["models"][TASK]["inputs"][1].update(shape=[4, 5, 3]),
            r"which dimension of \[4, 5, 3\] are the 1 rows",
        ),
        (
            lambda c: c["models"][TASK]["outputs"][1].update(isaaclab_connection="write:robot:x"),
            "h_policy_joint_pos_out is written to the host, and a memory",
        ),
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
    (check,) = [check for check in contract.checks if check.name == "element_names"]
    assert check.status == "skipped"
    assert "state:robot:joint_pos have names that do not fit" in check.detail


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
