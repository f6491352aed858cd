"""Exporting a wrapped env: wrappers neither see what an export does, nor go on with what was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdstep.errors import ParityError
from holdstep.wrappers import RecordEpisodes, SuspendOnWait
from holdstep.wrappers.export import export_policy
from holdstep.wrappers.export.validation.parity import ParityCheck
from holdstep.wrappers.record import Dataset
from tests.wrappers.export.pipeline_tools import CARTPOLE, export_env


@pytest.fixture
def env(tmp_path):
    held = SuspendOnWait(export_env(CARTPOLE, num_envs=2), level="skip")
    env = RecordEpisodes(held, tmp_path / "demos", writer="thread", durability="memory")
    yield env
    env.close()


def act(env, num_steps):
    for _ in range(num_steps):
        env.step(torch.full((2, 1), 0.5))


@pytest.mark.parametrize("fails", [False, True])
def test_wrappers_see_nothing_and_go_on_with_what_is(env, tmp_path, monkeypatch, fails):
    def fail(check, *_, **__):
        check._pipeline.env.step(torch.ones(2, 1))
        raise ParityError("planted")

    env.reset(seed=0)
    act(env, 2)
    env.env.suspend([1])
    act(env, 1)
    options = {"backend": "torch", "method": "jit-trace", "num_steps": 5, "obs_keys": "actor"}
    if fails:
        monkeypatch.setattr(ParityCheck, "run", fail)
        with pytest.raises(ParityError, match="planted"):
            export_policy(env, torch.nn.Linear(5, 1), tmp_path / "out", **options)
    else:
        assert export_policy(env, torch.nn.Linear(5, 1), tmp_path / "out", **options).passed
    assert not env.env.suspended.any()
    begun_with = env.unwrapped.backend_env.obs_buf["actor"].clone()
    act(env, 4)
    env.close()
    with Dataset(tmp_path / "demos") as episodes:
        found = sorted(episodes, key=lambda episode: episode.num_steps)
        assert [episode.num_steps for episode in found] == [2, 3, 4, 4]
        first = [np.asarray(episode.arrays["obs/actor"])[0] for episode in found[2:]]
    rows = {tuple(row) for row in begun_with.tolist()}
    assert {tuple(row.tolist()) for row in first} == rows
