from __future__ import annotations

import dataclasses

import pytest

from holdstep.cli import main
from holdstep.wrappers.export.contract import Check, ModelFile
from holdstep.wrappers.export.contract_file import file_digest, write_contract
from tests.wrappers.export.contracts import contract_of


@pytest.fixture
def export(tmp_path):
    """A folder as an export leaves it."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "policy.onnx").write_bytes(b"model")
    digest = file_digest(folder / "policy.onnx")
    model = ModelFile("policy.onnx", "torch-onnx", "policy", ("a",), ("b",), None, digest)
    write_contract(contract_of(models=(model,)), folder)
    return folder


def test_show_prints_what_is_read_kept_and_written(export, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["contract", "show", str(export)]) == 0
    printed = capsys.readouterr().out
    for words in (
        "holdstep:Hopper (mjlab), a control step of 0.02 s = 4 x 0.005 s",
        "state:robot:joint_pos",
        "hip, knee, ankle",
        "(wxyz) w, x, y, z",
        "memory:last_action",
        "write:robot:set_joint_position_target",
        "policy/joint_pos",
        "randomised per env",
        "model: policy.onnx (torch-onnx, policy, any number of rows)",
        "check: parity passed (1.5e-07)",
    ):
        assert words in printed, words


def test_diff_says_what_differs_and_fails(export, tmp_path, capsys):
    write_contract(contract_of(decimation=2, physics_dt=0.01), tmp_path / "other")
    assert main(["contract", "diff", str(export), str(tmp_path / "other")]) == 1
    printed = capsys.readouterr().out
    assert "hosts are concerned" in printed
    assert "~ decimation: 4 -> 2" in printed
    assert main(["contract", "diff", str(export), str(export)]) == 0
    assert "The contracts are the same." in capsys.readouterr().out


def test_check_says_that_all_is_well_or_what_is_not(export, capsys):
    assert main(["contract", "check", str(export)]) == 0
    assert "the contract and 1 model files can be used" in capsys.readouterr().out
    (export / "policy.onnx").write_bytes(b"other")
    assert main(["contract", "check", str(export)]) == 1
    assert "is not the file that was exported" in capsys.readouterr().out


def test_check_prints_every_problem_with_its_line(export, capsys):
    file = export / "contract.yaml"
    lines = file.read_text().replace("decimation: 4", "decimation: -4").splitlines()
    number = lines.index("decimation: -4") + 1
    file.write_text("\n".join([*lines, "colour: blue"]))
    assert main(["contract", "check", str(export)]) == 1
    printed = capsys.readouterr().out
    assert f"contract.yaml:{len(lines) + 1}: colour: is no field here." in printed
    file.write_text("\n".join(lines))
    assert main(["contract", "check", str(file)]) == 1
    assert f"contract.yaml:{number}: decimation: must be at least 1" in capsys.readouterr().out


def test_check_repeats_what_failed_at_the_export(export, capsys):
    contract = contract_of(models=(), checks=(Check("parity", "failed", detail="too far off."),))
    write_contract(contract, export)
    assert main(["contract", "check", str(export)]) == 1
    printed = capsys.readouterr().out
    assert "There are no model files" in printed
    assert "The export's own check 'parity' failed: too far off." in printed


def test_errors_are_one_message(tmp_path, capsys):
    assert main(["contract", "show", str(tmp_path)]) == 2
    assert "Export writes it" in capsys.readouterr().err
    broken = dataclasses.replace(contract_of(), task="broken")
    write_contract(broken, tmp_path)
    (tmp_path / "contract.yaml").write_text("a: [")
    assert main(["contract", "diff", str(tmp_path), str(tmp_path)]) == 2
    assert "contract.yaml:1: not YAML" in capsys.readouterr().err


def test_import_of_what_is_no_export_says_so(tmp_path, capsys):
    file = tmp_path / "task.yaml"
    file.write_text("models: {}\npipeline: {}\n")
    options = ["--physics-dt", "0.005", "--decimation", "4"]
    assert main(["contract", "import", str(file), *options]) == 2
    assert "models: there must be exactly one, got 0" in capsys.readouterr().err
