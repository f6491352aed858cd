import itertools

import numpy as np
import pytest
import torch

from holdstep.envs import check_vector_env, make
from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import ConfigError
from holdstep.timeline import RowState, read_timeline
from holdstep.wrappers import RecordTimeline, SuspendOnWait, VectorWrapper, run_per_env

NUM_ENVS = 4


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


def ticking():
    """A clock that is 1 ms further whenever it is looked at."""
    times = itertools.count()
    return lambda: next(times) * 1e-3


def zeros(env):
    return torch.zeros(env.action_space.shape)


def small_env(max_episode_length=5):
    return PointMass(NUM_ENVS, seed=3, max_episode_length=max_episode_length)


def test_it_keeps_the_contract_and_changes_nothing(path):
    check_vector_env(RecordTimeline(small_env(), path), close=True)
    plain, traced = small_env(), RecordTimeline(small_env(), path)
    assert torch.equal(plain.reset(seed=1)[0]["policy"], traced.reset(seed=1)[0]["policy"])
    actions = torch.rand(plain.action_space.shape)
    for _ in range(12):
        expected, result = plain.step(actions), traced.step(actions)
        for name in expected[0]:
            assert torch.equal(expected[0][name], result[0][name])
        assert all(torch.equal(a, b) for a, b in zip(expected[1:4], result[1:4], strict=True))


def test_it_traces_who_advanced_and_when(path):
    suspend = SuspendOnWait(small_env())
    env = RecordTimeline(suspend, path, clock=ticking(), metadata={"seed": 3})
    env.reset()
    expected = []
    for step in range(9):
        if step in (2, 6):
            suspend.suspend([1, 3])
        if step == 4:
            suspend.resume(suspend.suspended)
        expected.append(env.step(zeros(env))[4]["active"].tolist())
    env.close()
    timeline = read_timeline(path)
    assert (timeline.state_matrix() == RowState.ACTIVE).tolist() == expected
    assert [False, True] in [[row[1], row[0]] for row in expected]
    # The clock is looked at twice for a tick, once before and once after it.
    assert timeline.tick_end_s - timeline.tick_begin_s == pytest.approx(np.full(9, 1e-3))
    assert timeline.complete
    assert timeline.metadata == {"task": "PointMass", "seed": 3}


def test_directly_around_the_simulator_it_traces_who_advanced_too(path):
    env = SuspendOnWait(RecordTimeline(small_env(), path))
    env.reset()
    env.suspend([2])
    for _ in range(3):
        env.step(zeros(env))
    env.close()
    assert read_timeline(path).state_matrix().tolist() == [[0, 0, 1, 0]] * 3


def test_episodes_have_their_ticks_and_returns(path):
    suspend = SuspendOnWait(CartPole(NUM_ENVS, seed=0, max_episode_length=5))
    env = RecordTimeline(suspend, path)
    env.reset()
    total = torch.zeros(NUM_ENVS, dtype=torch.float64)
    begin, number, expected = [0] * NUM_ENVS, [0] * NUM_ENVS, []
    for step in range(23):
        if step == 7:
            suspend.suspend([1])
        if step == 9:
            suspend.resume([1])
        _, reward, terminated, truncated, _ = env.step(zeros(env))
        total += reward
        for row in (terminated | truncated).nonzero().flatten().tolist():
            expected.append((row, number[row], begin[row], step, total[row].item()))
            begin[row], number[row], total[row] = step + 1, number[row] + 1, 0.0
    env.close()
    got = [
        (e.env_id, e.episode_id, e.begin_tick, e.end_tick, e.episode_return)
        for e in read_timeline(path).episodes
    ]
    assert got == expected
    assert (1, 1, 5, 11, 5.0) in got  # two of its ticks were suspended ones


def test_resets_begin_new_episodes(path):
    env = RecordTimeline(small_env(), path)
    env.reset()
    for _ in range(2):
        env.step(zeros(env))
    env.reset(options={"env_ids": [1]})
    env.step(zeros(env))
    env.reset(options={"env_ids": torch.tensor([False, True, True, False])})
    rewards = sum(env.step(zeros(env))[1] for _ in range(5))
    env.reset()
    env.close()
    episodes = {(e.env_id, e.episode_id): e for e in read_timeline(path).episodes}
    assert (episodes[0, 0].begin_tick, episodes[0, 0].end_tick) == (0, 4)
    assert (episodes[1, 2].begin_tick, episodes[1, 2].end_tick) == (3, 7)
    assert (episodes[2, 1].begin_tick, episodes[2, 1].end_tick) == (3, 7)
    assert set(episodes) == {(0, 0), (3, 0), (1, 2), (2, 1)}
    assert episodes[1, 2].episode_return == pytest.approx(rewards[1].item())


def test_a_second_reset_before_any_step_is_no_episode(path):
    env = RecordTimeline(small_env(max_episode_length=1), path)
    env.reset()
    env.reset()
    env.reset(options={"env_ids": [0]})
    env.step(zeros(env))
    env.close()
    assert [e.episode_id for e in read_timeline(path).episodes] == [0] * NUM_ENVS


class Succeeds(VectorWrapper):
    """Says of rows 0 and 2 that they succeeded."""

    def step(self, actions):
        obs, reward, terminated, truncated, info = self.env.step(actions)
        info["success"] = torch.tensor([True, False, True, False])
        return obs, reward, terminated, truncated, info


def test_success_is_taken_from_the_info(path):
    env = RecordTimeline(Succeeds(small_env(max_episode_length=1)), path)
    env.reset()
    env.step(zeros(env))
    env.close()
    assert [e.success for e in read_timeline(path).episodes] == [True, False, True, False]


class Breaks(VectorWrapper):
    def step(self, actions):
        raise RuntimeError("the simulator broke")


def test_a_step_that_fails_is_no_tick_and_the_trace_is_finished(path):
    env = RecordTimeline(Breaks(small_env()), path)
    env.reset()
    with pytest.raises(RuntimeError, match="the simulator broke"):
        env.step(zeros(env))
    env.close()
    timeline = read_timeline(path)
    assert (timeline.num_ticks, timeline.complete) == (0, True)
    env.close()


def test_steps_in_inference_mode_are_traced(path):
    env = RecordTimeline(small_env(), path)
    with torch.inference_mode():
        env.reset()
        env.step(zeros(env))
    env.step(zeros(env))
    env.reset(options={"env_ids": [0]})
    env.close()
    assert read_timeline(path).num_ticks == 2


def test_rows_that_wait_in_run_per_env_are_seen(path):
    import asyncio

    env = RecordTimeline(SuspendOnWait(small_env()), path)

    async def thinks(handle):
        await handle.reset()
        done = False
        while not done:
            if handle.env_id == 1:
                with env.timeline.measure([1], kind="plan"):
                    await asyncio.sleep(0.002)
            _, _, done, _ = await handle.step(torch.zeros(2))

    run_per_env(env, thinks, num_episodes=NUM_ENVS)
    env.close()
    timeline = read_timeline(path)
    assert {call.kind for call in timeline.calls} == {"plan"}
    assert len(timeline.calls) == 5
    suspended = (timeline.state_matrix() == RowState.SUSPENDED).sum(axis=0)
    assert suspended[1] > 0
    assert {e.env_id for e in timeline.episodes} == set(range(NUM_ENVS))


def test_the_id_of_the_task_is_in_the_trace(path):
    RecordTimeline(make("holdstep:CartPole", num_envs=1, device="cpu"), path).close()
    assert read_timeline(path).metadata == {"task": "holdstep:CartPole"}


def test_arguments(path):
    with pytest.raises(ConfigError, match="wraps a holdstep env"):
        RecordTimeline(object(), path)
    with pytest.raises(ConfigError, match="metadata"):
        RecordTimeline(small_env(), path, metadata={"x": float("inf")})
    assert not path.exists()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_waits_for_the_gpu(path):
    env = CartPole(64, device="cuda", seed=0, max_episode_length=20)
    env = RecordTimeline(SuspendOnWait(env), path)
    env.reset()
    actions = torch.zeros(64, 1, device="cuda")
    env.step(actions)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(200):
            env.step(actions)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    env.close()
    timeline = read_timeline(path)
    assert timeline.num_ticks == 201
    assert sum(e.episode_return for e in timeline.episodes) == pytest.approx(
        sum(e.end_tick - e.begin_tick + 1 for e in timeline.episodes)
    )
    assert len(timeline.episodes) >= 640
