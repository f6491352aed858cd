"""Chunks on simulated robots: each row lives as it would if no row had ever been held."""

import pytest
import torch

from holdstep.envs import check_vector_env
from holdstep.wrappers import ActionChunkReplay, SuspendOnWait
from tests.conftest import make_mjlab, silenced
from tests.wrappers.chunk_tools import Spy

LENGTH = 8
GAMMA = 0.97


def history_of(env, table):
    """All rows step all the time, row ``r`` with action ``table[r, s]`` in its step ``s``."""
    history = []
    for actions in table.unbind(1):
        obs, reward, terminated, truncated, info = env.step(actions)
        final = {name: value.clone() for name, value in info.get("final_obs", obs).items()}
        history.append((obs, reward, terminated, truncated, final))
    return history


def start(task, num_envs, *, level, ends_in):
    env = make_mjlab(task, num_envs=num_envs, seed=3)
    suspender = SuspendOnWait(env, level=level, rng="per_env")
    with silenced():
        suspender.reset(seed=5)
    suspender.episode_length_buf = env.max_episode_length - torch.tensor(ends_in)
    return suspender


@pytest.mark.parametrize("level", ["exact", "skip"])
@pytest.mark.parametrize(
    ("task", "num_steps", "scale"),
    [("Mjlab-Cartpole-Balance", 6, 1.0), ("Mjlab-Velocity-Flat-Unitree-Go1", 5, 8.0)],
)
def test_rows_live_as_if_all_had_always_stepped(task, num_steps, scale, level):
    num_envs = 6
    ends_in = [1, 3, LENGTH, LENGTH + 1, 30, 200]
    plain = start(task, num_envs, level=level, ends_in=ends_in)
    generator = torch.Generator().manual_seed(0)
    shape = (num_envs, num_steps * LENGTH, plain.single_action_space.shape[0])
    table = scale * torch.randn(shape, generator=generator)
    history = history_of(plain, table)
    plain.close()

    spy = Spy(start(task, num_envs, level=level, ends_in=ends_in))
    env = ActionChunkReplay(spy, LENGTH, gamma=GAMMA)
    done = [0] * num_envs  # steps of each row
    num_early = num_fallen = 0
    for _ in range(num_steps):
        chunks = torch.stack(
            [table[row, done[row] : done[row] + LENGTH] for row in range(num_envs)]
        )
        obs, reward, terminated, truncated, info = env.step(chunks)
        for row in range(num_envs):
            steps = [history[done[row] + tick] for tick in range(int(info["num_steps"][row]))]
            done[row] += len(steps)
            for name, value in obs.items():
                assert torch.equal(value[row], steps[-1][0][name][row]), (row, name)
            expected = sum(GAMMA**tick * float(step[1][row]) for tick, step in enumerate(steps))
            assert float(reward[row]) == pytest.approx(expected, rel=1e-5, abs=1e-6)
            flags = bool(terminated[row]), bool(truncated[row])
            assert flags == (bool(steps[-1][2][row]), bool(steps[-1][3][row]))
            assert not any(bool(step[2][row] | step[3][row]) for step in steps[:-1])
            if any(flags):
                assert info["_final_obs"][row]
                for name, value in info["final_obs"].items():
                    assert torch.equal(value[row], steps[-1][4][name][row]), (row, name)
            assert any(flags) or len(steps) == LENGTH
            num_early += len(steps) < LENGTH
            num_fallen += flags[0] and len(steps) < LENGTH
    assert num_early > 2, (num_early, num_fallen)
    assert num_fallen > 2 or "Go1" not in task, (num_early, num_fallen)
    for row in range(num_envs):  # what was applied is each row's own sequence, without a gap
        applied = torch.stack([action for _, action in spy.applied(row)])
        assert torch.equal(applied, table[row, : done[row]])
    env.close()


def test_the_contract_is_kept_and_logs_are_numbers():
    env = SuspendOnWait(make_mjlab("Mjlab-Cartpole-Balance", num_envs=4, seed=0))
    env = ActionChunkReplay(env, 3, gamma=0.99)
    with silenced():
        report = check_vector_env(env, num_steps=24)
    assert report.num_ended > 0
    env.episode_length_buf = env.max_episode_length - torch.tensor([1, 2, 3, 40])
    info = env.step(torch.zeros(4, 3, 1))[4]
    assert info["num_steps"].tolist() == [1, 2, 3, 3]
    assert info["log"]
    for name, value in info["log"].items():
        assert isinstance(value, int | float) or value.ndim == 0, name
    env.close()
