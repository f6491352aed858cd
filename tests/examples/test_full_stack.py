"""Everything in one stack, on real physics; what comes out of its parts agrees."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from holdstep.wrappers.record import Dataset
from tests.examples.load import load_example


def check_report(file, num_episodes):
    report = json.loads(file.read_text())
    assert Path(report["checkpoint"]).is_file()
    assert report["episodes"] == num_episodes
    assert report["export_parity"] <= 1e-5
    assert all(np.isfinite(values).all() for values in report["deployed_targets"].values())
    assert report["stats"]["RecordEpisodes/acknowledged"] >= num_episodes
    assert report["stats"]["SuspendOnWait/suspended_share"] > 0  # rows that had no episode left
    # Learnt with the algorithm for stacks that can suspend rows.
    params = Path(report["checkpoint"]).parent / "params"
    agent = next(yaml.safe_load(f.read_text()) for f in params.glob("agent*"))
    assert agent["algorithm"]["class_name"].endswith("MaskedPPO")
    return report


def check_recorded(report, file):
    """The episodes that were evaluated are the ones that were recorded."""
    with Dataset(file.parent / "episodes") as dataset:
        whole = [episode for episode in dataset if episode.ended in ("terminated", "truncated")]
        returns = sorted(float(np.sum(e.arrays["rewards"], dtype=np.float64)) for e in whole)
    assert len(returns) == report["episodes"]
    assert math.isclose(np.mean(returns), report["mean_return"], rel_tol=1e-5)


def test_on_mjlab(tmp_path):
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    example = load_example("full_stack")
    file = example.main(
        example.Arguments(
            num_envs=6, iterations=2, num_episodes=8, episode_s=2.0, out=tmp_path / "runs"
        )
    )
    check_recorded(check_report(file, 8), file)
