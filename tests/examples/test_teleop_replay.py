"""Two operators, one of them slow; recorded and replayed."""

import pytest

from holdstep.wrappers.record import Dataset
from tests.examples.load import load_example

example = load_example("teleop_replay")


def test_only_the_slow_operators_row_stands_still_and_the_replay_is_the_same(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    plot, out = tmp_path / "ages.png", tmp_path / "demos"
    outcome = example.main(example.Arguments(num_episodes=3, out=out, plot=plot))
    assert outcome.num_still[1] > outcome.num_still[0]
    assert outcome.num_steps[1] < outcome.num_steps[0]
    assert (outcome.max_age_frames, outcome.misses) == (1, 0)
    assert outcome.largest_difference == 0.0
    assert outcome.num_episodes == 3
    assert plot.read_bytes().startswith(b"\x89PNG")
    with Dataset(out) as dataset:  # what stood still has left no trace
        assert all(
            (abs(e.arrays["obs/policy"][1:] - e.arrays["obs/policy"][:-1]).max(axis=1) > 0).all()
            for e in dataset
        )
