"""The demo, as `make demo` runs it: it must solve the task."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_and_play.py"


def report_of(tmp_path, *arguments):
    command = [sys.executable, str(EXAMPLE), "--out", str(tmp_path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "reward curve" in done.stdout
    report = json.loads(next(tmp_path.glob("*/*/report.json")).read_text())
    assert Path(report["checkpoint"]).is_file()
    for plot in ("reward_curve", "suspended_row", "timeline"):
        assert Path(report[plot]).read_bytes().startswith(b"\x89PNG")
    assert report["stood_still"] is True
    rates = report["chunked_env_steps_per_s"]
    assert rates["Cohort"] > 1.25 * rates["AnyTrigger"]  # about 1.6 where nothing else runs
    return report


def test_the_demo_solves_cartpole(tmp_path):
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    report = report_of(tmp_path)
    assert report["played_episodes"] == 64
    assert 45 <= report["mean_return"] <= 50
    assert 45 <= report["training_return"] <= 50
    assert report["seconds"] < 500
    # What was exported is what was trained, and balances the pole without the env.
    assert report["export_parity"] <= 1e-5
    assert (Path(report["exported"]) / "policy.onnx").is_file()
    assert report["deployed_largest_angle"] < 0.2


def test_a_task_that_is_not_learnt_is_reported_as_such(tmp_path):
    """What the first test would see if nothing was learnt."""
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    report = report_of(tmp_path, "--iterations", "2")
    assert report["mean_return"] < 45
