"""contract.yaml written, read, and refused."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import yaml
from hypothesis import given, settings

from holdstep.documents.nodes import MAX_BYTES
from holdstep.errors import ContractError
from holdstep.wrappers.export.contract import ModelFile
from holdstep.wrappers.export.contract_file import (
    check_model_files,
    model_path,
    parse_contract,
    read_contract,
    write_contract,
)
from holdstep.wrappers.export.contract_writer import contract_text
from tests.wrappers.export.contracts import contract_of, contracts


@given(contracts())
@settings(max_examples=40, deadline=None)
def test_what_was_written_is_read_back_equal(contract):
    text = contract_text(contract)
    assert parse_contract(text.encode()) == contract
    # Any YAML reader reads the same values, also one in another language.
    plain = yaml.safe_load(text)
    assert plain["task"] == contract.task
    assert plain["physics_dt"] == contract.physics_dt
    assert [entry["connection"] for entry in plain["inputs"]] == [
        spec.connection for spec in contract.inputs
    ]


def test_the_file_is_for_people(tmp_path):
    path = write_contract(contract_of(), tmp_path / "export")
    assert path == tmp_path / "export" / "contract.yaml"
    text = path.read_text()
    assert text.startswith("# What an exported policy reads, keeps and writes.")
    assert "element_names: [hip, knee, ankle]" in text
    assert "history_length" not in text  # a default
    order = [line.split(":")[0] for line in text.splitlines() if line[:1].isalpha()]
    assert order[:5] == ["version", "task", "simulator", "created_with", "step_dt"]
    assert order.index("inputs") < order.index("memories") < order.index("outputs")
    assert read_contract(path) == read_contract(path.parent) == contract_of()
    assert list(path.parent.iterdir()) == [path]  # nothing left beside it


def test_writing_again_replaces(tmp_path):
    write_contract(contract_of(), tmp_path)
    other = contract_of(task="other")
    write_contract(other, tmp_path)
    assert read_contract(tmp_path) == other


def test_words_that_yaml_takes_for_something_else_survive():
    names = ("on", "no", "1", "1e5", "null", "2020-01-01", "a: b", "- x", "é", "1:30", "0x1f", "~")
    spec = dataclasses.replace(
        contract_of().inputs[0], shape=(len(names),), element_names=names, unit="y"
    )
    contract = contract_of(inputs=(spec,))
    assert parse_contract(contract_text(contract).encode()) == contract


def problems_of(text: str | bytes) -> tuple[str, ...]:
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(ContractError) as caught:
        parse_contract(content)
    return caught.value.problems


def test_every_problem_has_its_line():
    text = contract_text(contract_of())
    lines = text.splitlines()
    bad = text.replace("dtype: float32", "dtype: float31", 1)
    bad = bad.replace("decimation: 4", "decimation: four")
    bad = bad.replace("simulator: mjlab", "simulater: mjlab")
    bad = bad.replace("unit: joint\n", "unit: 1\n", 1)
    bad = bad.replace("file: policy.onnx", "file: ../policy.onnx")

    def line(words: str) -> int:
        return next(number for number, one in enumerate(lines, 1) if words in one)

    found = problems_of(bad)
    expected = {
        f"contract.yaml:{line('dtype: float32')}: inputs[0].dtype: must be one of": False,
        f"contract.yaml:{line('decimation: 4')}: decimation: must be an integer": False,
        f"contract.yaml:{line('simulator: mjlab')}: simulater: is no field here. Did you": False,
        f"contract.yaml:{line('unit: joint')}: inputs[0].unit: must be a text, got 1. Put": False,
        f"contract.yaml:{line('file: policy')}: models[0].file: must be a path inside": False,
    }
    for words in expected:
        assert any(problem.startswith(words) for problem in found), (words, found)
    assert any("simulator: is missing" in problem for problem in found)
    assert len(found) == len(expected) + 1


def test_rules_between_parts_have_lines_too():
    text = contract_text(contract_of()).replace("step_dt: 0.02", "step_dt: 0.03")
    number = text.splitlines().index("step_dt: 0.03") + 1
    assert problems_of(text) == (
        f"contract.yaml:{number}: step_dt: must be physics_dt * decimation = 0.02, got 0.03.",
    )


def test_a_newer_version_says_to_upgrade_and_nothing_else():
    text = contract_text(contract_of()).replace("version: 1", "version: 7") + "new_field: 3\n"
    (problem,) = problems_of(text)
    assert "has version 7" in problem
    assert "up to 1" in problem
    assert "pip install --upgrade holdstep" in problem
    assert (
        "version: must be 1, got 0."
        in problems_of(contract_text(contract_of()).replace("version: 1", "version: 0"))[0]
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("[1, 2]", "must be a mapping, got a list"),
        ("version: 1\nversion: 1", ":2: version: is there twice"),
        ("? [a]\n: b", "a key that is no text"),
        ("a: &x [1]\nb: *x", ":1: anchors and aliases"),
        ("a: !!python/object/apply:os.system ['true']", "tags are not allowed"),
        ("a: !!str b", "tags are not allowed"),
        ("a: 1\n---\nb: 1", "a second document begins"),
        ("a: [1, 2", "not YAML"),
        ("a: b: c", ":1: not YAML"),
        ("a: \x01", "not YAML"),
        (b"a: 1\nb: \xff", ":2: not UTF-8"),
        ("a: " + "[" * 50 + "]" * 50, "nested more than 12 deep"),
        ("a: " + "[" * 100_000, "nested more than 12 deep"),
        (b"a" * (MAX_BYTES + 1), "at most"),
        ("decimation: " + "9" * 5000, "must be an integer"),
        ("step_dt: 1e-5", "with a point"),
        ("step_dt: .nan", "got NaN"),
    ],
)
def test_what_is_no_contract_says_why(text, words):
    assert any(words in problem for problem in problems_of(text)), problems_of(text)


def test_numbers_beyond_all_bounds_are_no_integers():
    text = contract_text(contract_of())
    (problem,) = problems_of(text.replace("decimation: 4", f"decimation: {'9' * 400}"))
    assert "decimation: must be an integer, got '9999" in problem
    (problem,) = problems_of(text.replace("physics_dt: 0.005", f"physics_dt: {'9' * 400}"))
    assert "physics_dt: must be a number" in problem


def test_a_bomb_of_aliases_does_not_explode():
    layers = [
        f"l{index}: &a{index} [{', '.join([f'*a{index - 1}'] * 9)}]" for index in range(1, 12)
    ]
    (problem,) = problems_of("\n".join(["l0: &a0 [x]", *layers]))
    assert "anchors and aliases" in problem


def test_a_contract_that_is_not_there_says_what_writes_it(tmp_path):
    with pytest.raises(ContractError, match=r"No such file.*Export writes it"):
        read_contract(tmp_path)
    with pytest.raises(ContractError, match="can't be read"):
        read_contract(tmp_path / "nowhere" / "contract.yaml")


def test_model_files_are_found_only_inside_the_folder(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    (tmp_path / "secret.onnx").write_bytes(b"secret")
    (folder / "policy.onnx").symlink_to(tmp_path / "secret.onnx")
    (folder / "out").symlink_to(tmp_path)
    model = ModelFile("policy.onnx", "torch-onnx", "policy", (), ())
    with pytest.raises(ContractError, match="leads out of the folder"):
        model_path(folder, model)
    with pytest.raises(ContractError, match="leads out of the folder"):
        model_path(folder, dataclasses.replace(model, file="out/secret.onnx"))
    with pytest.raises(ContractError, match="is not there"):
        model_path(folder, dataclasses.replace(model, file="gone.onnx"))
    (folder / "policy.onnx").unlink()
    (folder / "policy.onnx").write_bytes(b"model")
    assert model_path(folder, model) == (folder / "policy.onnx").resolve()


def test_a_model_that_was_exchanged_is_named(tmp_path):
    (tmp_path / "policy.onnx").write_bytes(b"model")
    digest = hashlib.sha256(b"model").hexdigest()
    model = ModelFile("policy.onnx", "torch-onnx", "policy", (), (), None, digest)
    contract = contract_of(models=(model,))
    assert check_model_files(contract, tmp_path) == []
    (tmp_path / "policy.onnx").write_bytes(b"mode1")
    (problem,) = check_model_files(contract, tmp_path)
    assert "'policy.onnx' is not the file that was exported" in problem
    (tmp_path / "policy.onnx").unlink()
    assert "is not there" in check_model_files(contract, tmp_path)[0]
