"""What is exported equals its env, and runs on two hosts without it."""

import pytest
import torch

from tests.examples.load import load_example

pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
example = load_example("export_and_deploy")


def test_exported_and_deployed(tmp_path, capsys):
    outcome = example.main(example.Arguments(steps=20, out=tmp_path / "export"))
    report, targets = outcome["report"], outcome["targets"]
    assert report.passed
    assert report.parity.max_scaled_diff <= 1e-5
    assert (tmp_path / "export" / "policy.onnx").is_file()
    for of_host in targets.values():
        assert of_host.shape == (20, 1)
        assert torch.isfinite(of_host).all()
        assert of_host.std() > 0  # something moves
    assert "parity" in capsys.readouterr().out
