"""The benchmark of learning under suspension runs, and counts what it says."""

import json

import pytest

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")

from tests.benchmarks import masked_learning as benchmark


def test_three_trainings_of_as_many_steps_and_a_figure(tmp_path, capsys):
    file = tmp_path / "curves.png"
    arguments = benchmark.Arguments(env_id="holdstep:CartPole", quick=True, figure=file)
    summaries = benchmark.main(arguments)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["what"] for line in lines] == [line["what"] for line in summaries]
    wanted = 3 * 32 * 16  # iterations, steps, rows
    for line in lines:
        assert wanted <= line["steps_of_rows"] < wanted + 32 * 16
        assert line["curve"][-1][0] == line["steps_of_rows"]
        assert line["mean_return"] > 1
    alone, masked, plain = lines
    assert alone["iterations"] == 3 < masked["iterations"] == plain["iterations"]
    assert summaries[0]["ratio"] == 1
    assert file.stat().st_size > 10_000


def test_a_share_of_the_rows_stands_still_in_spells():
    import torch

    from holdstep.envs import make
    from holdstep.wrappers import SuspendOnWait

    env = SuspendOnWait(make("holdstep:CartPole", num_envs=64, device="cpu", seed=0))
    env = benchmark.Spells(env, share=0.3, spell=8.0, seed=0)
    env.reset()
    still = torch.stack([~env.step(torch.zeros(64, 1))[4]["active"] for _ in range(400)])
    assert 0.26 < still.float().mean() < 0.34
    ends = (still[:-1] & ~still[1:]).sum() / still[:-1].sum()
    assert 1 / 9.5 < ends < 1 / 6.8
