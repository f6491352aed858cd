import asyncio
import concurrent.futures
import signal
import threading

import pytest
import torch

from holdstep.envs import make
from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import (
    ConfigError,
    InvalidActionError,
    SuspensionError,
    SuspensionTimeoutError,
)
from holdstep.wrappers import SuspendOnWait, VectorWrapper, run_per_env, run_per_env_async

NUM_ENVS = 4


class Counts(VectorWrapper):
    """Notes which rows advanced in each step, and which were reset alone."""

    def __init__(self, env):
        super().__init__(env)
        self.active, self.resets = [], []

    def reset(self, *, seed=None, options=None):
        self.resets.append((options or {}).get("env_ids"))
        return super().reset(seed=seed, options=options)

    def step(self, actions):
        result = super().step(actions)
        self.active.append(result[4]["active"].tolist())
        return result


def stack(env_class=CartPole, num_envs=NUM_ENVS, max_episode_length=5, **kwargs):
    env = env_class(num_envs, seed=3, max_episode_length=max_episode_length)
    return Counts(SuspendOnWait(env, **kwargs))


def is_free(env):
    return not env.env.suspended.any()


async def hold_still(handle):
    obs, done = await handle.reset(), False
    seen = [obs["policy"].tolist()]
    while not done:
        obs, _, done, info = await handle.step([0.0] * handle_size(handle))
        seen.append((info["final_obs"] if done else obs)["policy"].tolist())
    return seen


def handle_size(handle):
    return 1 if handle.obs["policy"].shape == (4,) else 2


def trajectories(env_class, num_episodes_of_row):
    """The same episodes, from an env of which no row ever stands still."""
    env = env_class(NUM_ENVS, seed=3, max_episode_length=5)
    obs, _ = env.reset(seed=11)
    seen = {row: [[obs["policy"][row].tolist()]] for row in range(NUM_ENVS)}
    for _ in range(5 * max(num_episodes_of_row.values())):
        obs, _, terminated, truncated, info = env.step(torch.zeros(env.action_space.shape))
        for row in range(NUM_ENVS):
            if terminated[row] | truncated[row]:
                seen[row][-1].append(info["final_obs"]["policy"][row].tolist())
                seen[row].append([obs["policy"][row].tolist()])
            else:
                seen[row][-1].append(obs["policy"][row].tolist())
    return seen


@pytest.mark.parametrize("env_class", [CartPole, PointMass])
@pytest.mark.parametrize("waits", [False, True])
def test_each_row_runs_its_own_whole_episodes(env_class, waits):
    env = stack(env_class)
    order = torch.Generator().manual_seed(0)

    async def sometimes_waits(handle):
        obs, done = await handle.reset(), False
        seen = [obs["policy"].tolist()]
        assert handle.episode_return == 0
        while not done:
            if waits and torch.rand((), generator=order) < 0.3:
                await asyncio.sleep(0.001)
            obs, reward, done, info = await handle.step(torch.zeros(handle_size(handle)))
            assert isinstance(reward, float)
            assert isinstance(done, bool)
            assert done == (info["terminated"] or info["truncated"])
            seen.append((info["final_obs"] if done else obs)["policy"].tolist())
        return seen

    result = run_per_env(env, sometimes_waits, num_episodes=11, seed=11)
    assert [record.episode for record in result.episodes] == list(range(11))
    by_row = {row: [r for r in result.episodes if r.env_id == row] for row in range(NUM_ENVS)}
    expected = trajectories(env_class, {row: len(records) for row, records in by_row.items()})
    for row, records in by_row.items():
        for index, record in enumerate(records):
            assert record.return_value == expected[row][index]
            assert record.length == len(record.return_value) - 1
            assert record.truncated
            assert not record.terminated
    assert result.num_steps == len(env.active)
    assert sum(map(sum, env.active)) == sum(record.length for record in result.episodes)
    assert env.resets == [None]  # rows that ended were reset by the env, and not once more
    assert is_free(env)


def test_coroutines_that_compute_are_stepped_together():
    env = stack()

    async def computes(handle):
        await handle.reset()
        while not handle.done:
            if handle.env_id == 1:
                await asyncio.sleep(0)
            if handle.env_id == 2:
                await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
            if handle.env_id == 3:
                async with asyncio.TaskGroup() as group, asyncio.Lock():
                    group.create_task(asyncio.sleep(0))
            await handle.step([0.0])

    result = run_per_env(env, computes, num_episodes=8)
    assert env.active == [[True] * 4] * 10
    assert result.num_steps == 10
    assert {record.length for record in result.episodes} == {5}


def test_a_slow_planner_stops_only_its_own_row():
    env = stack()
    planned = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as planner:

        async def drive(handle):
            await handle.reset()
            if handle.env_id == 0:
                await asyncio.get_running_loop().run_in_executor(planner, planned.wait, 20)
            while not handle.done:
                await handle.step([0.0])
            if handle.env_id == 2:
                planned.set()  # the planner takes as long as an episode of the others

        result = run_per_env(env, drive, num_episodes=4)
    assert env.active[:5] == [[False, True, True, True]] * 5
    assert env.active[-5:] == [[True, False, False, False]] * 5
    assert result.num_steps == 10
    assert is_free(env)


def test_nothing_is_stepped_while_all_wait():
    env = stack(num_envs=2)
    loop_turns = []
    go_on = asyncio.Event()

    async def waits(handle):
        if handle.env_id == 0:
            for _ in range(50):  # turns of the event loop, more than a tick waits for
                await asyncio.sleep(0)
            loop_turns.append(len(env.active))
            go_on.set()
        else:
            await go_on.wait()
        while not handle.done:
            await handle.step([0.0])

    run_per_env(env, waits, num_episodes=2)
    assert loop_turns == [0]


@pytest.mark.parametrize("num_episodes", [1, 3, 4, 5, 9])
def test_the_first_episodes_to_start_are_the_ones_that_count(num_episodes):
    env = stack()
    calls = []

    async def as_long_as_its_row(handle):
        calls.append(handle.env_id)
        for _ in range(handle.env_id + 1):  # rows with short episodes get round sooner
            await handle.step([0.0])
        return handle.episode

    result = run_per_env(env, as_long_as_its_row, num_episodes)
    assert len(calls) == num_episodes
    assert result.return_values == list(range(num_episodes))
    assert [record.env_id for record in result.episodes] == calls
    for record in result.episodes:
        assert record.length == record.env_id + 1
    advanced = torch.tensor(env.active).sum(0)
    for row in range(NUM_ENVS):  # rows with nothing to do are not stepped
        assert advanced[row] == calls.count(row) * (row + 1)
    assert is_free(env)


@pytest.mark.parametrize("num_envs", [1, 4])
def test_for_an_episode_that_does_not_count_another_one_is_started(num_envs):
    """So that as many count, each attempt is run to its end, and no more than needed are run."""
    env = stack(num_envs=num_envs)
    under_way, most = set(), []

    async def fails_at_first(handle):
        under_way.add(handle.episode)
        for _ in range(1 + handle.episode % 3):
            await handle.step([0.0])
        most.append(len(under_way))
        under_way.remove(handle.episode)
        return handle.episode % 2 == 1

    result = run_per_env(env, fails_at_first, 5, counts=lambda record: record.return_value)
    assert sum(result.return_values) == 5
    num_attempts = len(result.episodes)
    assert [record.episode for record in result.episodes] == list(range(num_attempts))
    assert max(most) <= min(num_envs, 5)
    assert not under_way
    # Every other attempt succeeds; no attempt was started beyond what was still missing.
    assert 9 <= num_attempts <= 9 + num_envs
    assert is_free(env)


def test_attempts_are_bounded():
    async def fails(handle):
        await handle.step([0.0])
        return False

    result = run_per_env(stack(), fails, 5, counts=lambda record: False, max_attempts=11)
    assert len(result.episodes) == 11


def test_a_row_that_is_given_up_is_reset_for_its_next_episode():
    env = stack(num_envs=2)
    firsts = []

    async def gives_up(handle):
        firsts.append((await handle.reset())["policy"].tolist())
        await handle.step([1.0])
        assert handle.length == 1

    result = run_per_env(env, gives_up, num_episodes=5)
    assert env.resets == [None, [0, 1], [0]]
    assert len({tuple(first) for first in firsts}) == 5
    assert all(max(map(abs, first)) <= 0.05 for first in firsts)
    assert not any(record.terminated or record.truncated for record in result.episodes)
    assert [record.length for record in result.episodes] == [1] * 5


def test_rows_that_never_step_end_too():
    env = stack(num_envs=2)

    async def returns(handle):
        return handle.obs["policy"].tolist()

    result = run_per_env(env, returns, num_episodes=6)
    assert result.num_steps == 0
    assert len({tuple(value) for value in result.return_values}) == 6


def test_a_row_has_its_own_part_of_the_info():
    env = stack(PointMass, max_episode_length=3)

    async def looks(handle):
        while not handle.done:
            obs, _, done, info = await handle.step([0.0, 0.0])
            assert ("final_obs" in info) == ("success" in info) == done
            assert "active" not in info
            assert not any(key.startswith("_") for key in info)
            assert obs["policy"].shape == (6,)
            assert handle.obs is obs
            if done:
                assert info["success"].shape == ()
                assert info["final_obs"]["policy"].shape == (6,)
                assert info["final_info"]["critic"].shape == (8,)

    run_per_env(env, looks, num_episodes=4)


def test_returns_and_ends_are_recorded():
    env = stack(max_episode_length=50)

    async def pushes(handle):
        while not handle.done:
            await handle.step([1.0])

    for record in run_per_env(env, pushes, num_episodes=4, seed=0).episodes:
        assert record.terminated
        assert not record.truncated
        assert record.episode_return == record.length


def test_an_exception_ends_the_run_and_leaves_nothing_behind():
    env = stack()
    cancelled = []

    async def fails(handle):
        await handle.step([0.0])
        if handle.env_id == 2:
            raise ZeroDivisionError("of the planner")
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(handle.env_id)
            with pytest.raises(SuspensionError, match="over"):
                await handle.step([0.0])
            raise

    with pytest.raises(ZeroDivisionError, match="planner") as caught:
        run_per_env(env, fails, num_episodes=4)
    assert "env 2, episode 2" in caught.value.__notes__[0]
    assert sorted(cancelled) == [0, 1, 3]
    assert is_free(env)
    env.step(torch.zeros(4, 1))


def test_several_exceptions_of_one_step():
    env = stack()

    async def fails(handle):
        await handle.step([0.0])
        raise ValueError(handle.env_id)

    with pytest.raises(ValueError, match="0") as caught:
        run_per_env(env, fails, num_episodes=4)
    assert len(caught.value.__notes__) == 4


def test_a_coroutine_whose_future_was_cancelled_does_not_look_like_a_cancelled_run():
    env = stack()

    async def awaits_something_cancelled(handle):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with pytest.raises(SuspensionError, match="env 0 was cancelled"):
        run_per_env(env, awaits_something_cancelled, num_episodes=4)
    assert is_free(env)


def test_cancelling_the_run_cancels_its_coroutines():
    env = stack()
    ended = []

    async def waits(handle):
        await handle.step([0.0])
        try:
            if handle.env_id != 1:
                await asyncio.sleep(1000)
            while True:
                await handle.step([0.0])
                if handle.done:
                    await asyncio.sleep(1000)
        finally:
            ended.append(handle.env_id)

    async def cancel():
        run = asyncio.create_task(run_per_env_async(env, waits, 4))
        while len(env.active) < 3:
            await asyncio.sleep(0)
        assert env.env.suspended.tolist() == [True, False, True, True]
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(cancel())
    assert sorted(ended) == [0, 1, 2, 3]
    assert is_free(env)


def test_ctrl_c_gets_through():
    env = stack()
    ended = []

    async def interrupted(handle):
        try:
            await handle.step([0.0])
            if handle.env_id == 3:
                signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(1000)
        finally:
            ended.append(handle.env_id)

    with pytest.raises(KeyboardInterrupt):
        run_per_env(env, interrupted, num_episodes=4)
    assert sorted(ended) == [0, 1, 2, 3]
    assert is_free(env)


def test_when_nobody_does_anything_for_too_long():
    env = stack()

    async def stuck(handle):
        await handle.step([0.0])
        if handle.env_id in (1, 2):
            await asyncio.get_running_loop().create_future()

    with pytest.raises(SuspensionTimeoutError, match=r"envs \[1, 2\]"):
        run_per_env(env, stuck, num_episodes=4, timeout_s=0.05)
    assert is_free(env)


MISUSES = {
    "step after the end": ("over", lambda handle: handle.step([0.0]), True),
    "reset after the end": ("in the middle", lambda handle: handle.reset(), True),
    "reset in the middle": ("in the middle", lambda handle: handle.reset(), False),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_a_handle_is_one_episode(misuse):
    message, call, at_end = MISUSES[misuse]
    env = stack()

    async def misuses(handle):
        await handle.step([0.0])
        while at_end and not handle.done:
            await handle.step([0.0])
        with pytest.raises(SuspensionError, match=message):
            await call(handle)
        return True

    assert all(run_per_env(env, misuses, num_episodes=4).return_values)


def test_a_handle_is_useless_after_its_coroutine():
    env = stack()
    handles = []

    async def keeps(handle):
        for old in handles:
            with pytest.raises(SuspensionError, match="over"):
                await old.step([0.0])
        await handle.step([0.0])
        handles.append(handle)

    run_per_env(env, keeps, num_episodes=8)


def test_one_step_at_a_time():
    env = stack(num_envs=1)

    async def twice(handle):
        first = asyncio.ensure_future(handle.step([0.0]))
        await asyncio.sleep(0)
        with pytest.raises(SuspensionError, match="under way"):
            await handle.step([0.0])
        await first

    run_per_env(env, twice, num_episodes=1)
    assert env.active == [[True]]


def test_a_step_that_was_taken_back_is_not_made():
    env = stack(num_envs=2)

    async def changes_its_mind(handle):
        if handle.env_id == 0:
            step = asyncio.ensure_future(handle.step([1.0]))
            await asyncio.sleep(0)
            step.cancel()
            await asyncio.sleep(0.01)
            assert handle.length == 0
        await handle.step([0.0])

    run_per_env(env, changes_its_mind, num_episodes=2)
    assert env.active == [[False, True], [True, False]]


@pytest.mark.parametrize("action", [[0.0, 0.0], 0.0, "left", [float("nan")], None], ids=str)
def test_a_bad_action_is_raised_where_it_was_given(action):
    env = stack()

    async def steps_badly(handle):
        if handle.env_id == 2:
            with pytest.raises(InvalidActionError, match="env 2"):
                await handle.step(action)
        await handle.step([0.0])

    run_per_env(env, steps_badly, num_episodes=4)


def test_actions_are_taken_as_they_were_when_given():
    env = stack(num_envs=2, max_episode_length=2)

    async def edits(handle):
        action = torch.zeros(1)
        step = asyncio.ensure_future(handle.step(action))
        await asyncio.sleep(0)
        action.fill_(torch.nan)
        await step

    run_per_env(env, edits, num_episodes=2)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_discrete_actions_of_gymnasium_envs(kind):
    env = make("gymnasium:CartPole-v1", num_envs=2, device="cpu", vectorization_mode=kind)
    env = SuspendOnWait(env)

    async def balances(handle):
        if handle.env_id:
            await asyncio.sleep(0.002)
        with pytest.raises(InvalidActionError, match="integers"):
            await handle.step(0.5)
        while not handle.done:
            await handle.step(int(handle.obs["policy"][2] > 0))

    result = run_per_env(env, balances, num_episodes=3, seed=1)
    assert all(record.length > 20 for record in result.episodes)
    env.close()


def test_within_a_loop():
    env = stack()

    async def main():
        with pytest.raises(SuspensionError, match="run_per_env_async"):
            run_per_env(env, hold_still, num_episodes=1)
        return await run_per_env_async(env, hold_still, 5)

    assert len(asyncio.run(main()).episodes) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env": CartPole(2)}, "SuspendOnWait"),
        ({"coroutine_fn": 3}, "async def"),
        ({"coroutine_fn": lambda handle: 3}, "async def"),
        ({"num_episodes": 0}, "num_episodes"),
        ({"num_episodes": True}, "num_episodes"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"max_attempts": 0}, "max_attempts"),
    ],
)
def test_arguments_are_checked(change, message):
    arguments = {"env": stack(), "coroutine_fn": hold_still, "num_episodes": 2} | change
    with pytest.raises(ConfigError, match=message):
        run_per_env(**arguments)


def test_progress_is_shown(capsys):
    run_per_env(stack(), hold_still, num_episodes=5, progress=True)
    captured = capsys.readouterr()
    assert "5/5" in captured.err
    assert captured.out == ""
    counted = iter([True, False, False, True])
    run_per_env(stack(), hold_still, 2, progress=True, counts=lambda record: next(counted))
    assert "2/2" in capsys.readouterr().err
