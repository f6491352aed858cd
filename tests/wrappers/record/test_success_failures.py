"""A function of the user's that fails leaves no dataset that looks whole and is not."""

import contextlib

import pytest
import torch

from holdstep.envs import make
from holdstep.wrappers import RecordEpisodes
from holdstep.wrappers.record.dataset import Dataset

FAST = {"writer": "thread", "durability": "os"}


def test_a_step_whose_success_could_not_be_told_is_no_silent_gap(tmp_path):
    """The env has stepped, and the step can't be recorded: its episode is not whole any more."""
    calls = []

    def success(step):
        calls.append(step)
        if len(calls) == 3:
            raise ValueError("no idea")
        return step.terminated

    inner = make("holdstep:PointMass", num_envs=2, device="cpu", seed=0)
    env = RecordEpisodes(inner, tmp_path / "demos", success=success, **FAST)
    env.reset(seed=0)
    for number in range(5):
        with (
            pytest.raises(ValueError, match="no idea") if number == 2 else contextlib.nullcontext()
        ):
            env.step(torch.zeros(2, 2))
    env.reset()
    env.step(torch.zeros(2, 2))
    env.close()
    assert env.stats().dropped == 2
    assert [episode.num_steps for episode in Dataset(tmp_path / "demos")] == [1, 1]
