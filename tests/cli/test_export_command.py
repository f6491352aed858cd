"""``holdstep export`` as a user calls it."""

from __future__ import annotations

import pytest

from holdstep.cli import main
from holdstep.wrappers.export import read_contract

CARTPOLE = "mjlab:Mjlab-Cartpole-Balance"


def test_random_weights_are_exported_and_every_rung_is_printed(tmp_path, capsys):
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    out = tmp_path / "out"
    arguments = ["export", CARTPOLE, "--random-weights", "--num-envs", "3", "--steps", "4"]
    arguments += ["--backend", "torch", "--method", "onnx-torchscript", "--device", "cpu"]
    assert main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for rung in ("discover", "purity", "trace", "replay", "parity", "wiring"):
        assert rung in printed
    assert "policy.onnx" in printed
    assert read_contract(out).task == CARTPOLE
    assert main([*arguments, "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    arguments[arguments.index("onnx-torchscript")] = "jit-trace"
    other = tmp_path / "other"
    assert main([*arguments, "--out", str(other), "--skip-validation"]) == 0
    assert "skipped" in capsys.readouterr().out
    main(["export", "--diff", str(out), str(other)])
    assert "jit-trace" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say which env"),
        ([CARTPOLE], "--checkpoint or --random-weights"),
        ([CARTPOLE, "--random-weights", "--checkpoint", "x"], "either --checkpoint or"),
        ([CARTPOLE, "--random-weights", "--steps", "0"], "at least 1"),
        ([CARTPOLE, "--checkpoint", "no/such/file.pt"], "no/such/file.pt"),
        ([CARTPOLE, "--random-weights", "--set", "env"], "--set"),
    ],
)
def test_what_is_wrong_is_said_before_a_simulator_is_built(arguments, said, capsys, monkeypatch):
    def build(*_, **__):
        raise AssertionError("built an env")

    monkeypatch.setattr("holdstep.envs.make", build)
    assert main(["export", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_failed_export_still_shows_its_rungs(tmp_path, capsys, monkeypatch):
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    from holdstep.errors import ParityError
    from holdstep.wrappers.export.validation.parity import ParityCheck

    def differ(self, num_steps, *, seed):
        raise ParityError("They come apart.", term="actor/joint_pos")

    monkeypatch.setattr(ParityCheck, "run", differ)
    out = tmp_path / "out"
    arguments = ["export", CARTPOLE, "--random-weights", "--backend", "torch", "--num-envs", "2"]
    assert main([*arguments, "--method", "jit-trace", "--out", str(out), "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert "failed" in captured.out
    assert "They come apart." in captured.err
    assert not out.exists()
