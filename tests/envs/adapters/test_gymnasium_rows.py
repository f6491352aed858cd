import itertools
import multiprocessing
import threading
import time

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers import vector as vector_wrappers
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.envs import adapt, check_vector_env, make
from holdstep.errors import (
    CapabilityError,
    ClosedEnvError,
    InvalidActionError,
    InvalidEnvIdsError,
    ResetNeededError,
)
from holdstep.wrappers import SuspendOnWait

NUM_ENVS = 3
LENGTHS = (3, 1, 4)
ASYNC = {"context": "forkserver"}
KINDS = {
    "sync": (SyncVectorEnv, {}),
    "sync-nocopy": (SyncVectorEnv, {"copy": False}),
    "async": (AsyncVectorEnv, ASYNC),
    "async-nocopy": (AsyncVectorEnv, ASYNC | {"copy": False}),
    "async-noshm": (AsyncVectorEnv, ASYNC | {"shared_memory": False}),
}
CASES = [
    pytest.param(mode, kind, id=f"{mode.name}-{kind}")
    for mode, kind in itertools.product(AutoresetMode, KINDS)
    if (mode, kind) != (AutoresetMode.NEXT_STEP, "async-noshm")  # refused by the adapter
]


class Noisy(gymnasium.Env):
    """Shows how often it was called, and draws; its episodes end at different times."""

    action_space = spaces.Box(-1.0, 1.0, (2,), dtype=np.float64)

    def __init__(self, row=0, dict_obs=False, slow=None):
        self.row, self.slow = row, slow
        self.episode, self.clock, self.calls = -1, 0, 0
        space = spaces.Box(-np.inf, np.inf, (5,), dtype=np.float64)
        self.dict_obs = dict_obs
        self.observation_space = (
            spaces.Dict({"a": space, "b": spaces.Dict({"clock": spaces.Discrete(9)})})
            if dict_obs
            else space
        )

    def observe(self):
        draw = self.np_random.random()
        array = np.array([self.row, self.episode, self.clock, self.calls, draw])
        return {"a": array, "b": {"clock": self.clock}} if self.dict_obs else array

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.clock, self.calls = self.episode + 1, 0, self.calls + 1
        return self.observe(), {"resets": self.episode}

    def step(self, action):
        assert np.isfinite(action).all()
        if self.slow:
            time.sleep(self.slow)
        self.clock, self.calls = self.clock + 1, self.calls + 1
        end = self.clock >= LENGTHS[(self.row + self.episode) % len(LENGTHS)]
        info = {"clock": self.clock} | ({"name": "end"} if end else {})
        return self.observe(), action.sum() + self.clock, end, False, info


def adapted(mode=AutoresetMode.SAME_STEP, kind="sync", **kwargs):
    kind, vector_kwargs = KINDS[kind]
    fns = [lambda row=row: Noisy(row, **kwargs) for row in range(NUM_ENVS)]
    return adapt(kind(fns, autoreset_mode=mode, **vector_kwargs))


def actions_of(own_steps):
    rows = torch.arange(NUM_ENVS)
    return torch.stack([torch.sin(rows + own_steps), torch.cos(rows * own_steps)], dim=1)


def record_of(result, row):
    obs, reward, terminated, truncated, info = result
    ended = bool(terminated[row] | truncated[row])
    final = [value[row].tolist() for value in info["final_obs"].values()] if ended else None
    extra = info["final_info"] if ended and "clock" in info["final_info"] else info
    parts = [*obs.values(), reward, terminated, truncated]
    return [part[row].tolist() for part in parts], final, int(extra["clock"][row])


def check_rows_are_left_alone(env, reference, schedule):
    """Masked steps of an env give each row what steps of all rows give it, on its own steps."""
    obs, _ = env.reset(seed=2)
    reference.reset(seed=2)
    own_steps = torch.zeros(NUM_ENVS, dtype=torch.int64)
    seen = [[] for _ in range(NUM_ENVS)]
    for row_mask in schedule:
        active = torch.tensor(row_mask)
        actions = actions_of(own_steps)
        actions[~active] = torch.nan
        last_obs, clocks = obs, env.episode_length_buf.clone()
        result = env.step_masked(actions, active)
        obs, reward, terminated, truncated, info = result
        assert torch.equal(info["active"], active)
        for row in range(NUM_ENVS):
            if active[row]:
                seen[row].append(record_of(result, row))
            else:
                assert all(torch.equal(obs[name][row], last_obs[name][row]) for name in obs)
                assert reward[row] == 0
                assert not terminated[row]
                assert not truncated[row]
                assert clocks[row] == env.episode_length_buf[row]
                for key in ("final_obs", "final_info", "clock", "resets"):
                    assert key not in info or not info[f"_{key}"][row], key
        own_steps += active
    for step in range(int(own_steps.max())):
        result = reference.step(actions_of(torch.full((NUM_ENVS,), step)))
        for row in range(NUM_ENVS):
            if step < own_steps[row]:
                assert seen[row][step] == record_of(result, row)


SCHEDULE = [
    [True, False, True],
    [False, False, True],
    [True, True, False],
    [False, False, False],
    [True, True, True],
    [False, True, True],
    [True, False, False],
    [True, False, True],
    [False, True, False],
] * 2


@pytest.mark.parametrize("dict_obs", [False, True], ids=["array", "dict"])
@pytest.mark.parametrize(("mode", "kind"), CASES)
def test_a_row_that_is_left_out_is_not_called(mode, kind, dict_obs):
    env = adapted(mode, kind, dict_obs=dict_obs)
    reference = adapted(dict_obs=dict_obs)
    assert env.capabilities.freeze == "skip"
    try:
        check_rows_are_left_alone(env, reference, SCHEDULE)
    finally:
        env.close()


masks = st.lists(st.booleans(), min_size=NUM_ENVS, max_size=NUM_ENVS)


@settings(deadline=None, max_examples=40)
@given(mode=st.sampled_from(AutoresetMode), schedule=st.lists(masks, min_size=1, max_size=25))
def test_any_schedule(mode, schedule):
    check_rows_are_left_alone(adapted(mode), adapted(), schedule)


@pytest.mark.parametrize(("mode", "kind"), CASES)
def test_suspended_around_the_end_of_an_episode(mode, kind):
    """A row that has just ended, and one that is about to, stay where they are."""
    env = SuspendOnWait(adapted(mode, kind))
    env.reset(seed=0)
    actions = torch.zeros(NUM_ENVS, 2)
    ended = env.step(actions)[2]
    assert ended.tolist() == [False, True, False]
    obs, *_ = env.step(actions)
    env.suspend([0, 1])  # row 0 would end in the next step, row 1 has begun anew
    for _ in range(5):
        later, _, terminated, _, _ = env.step(actions)
        assert torch.equal(later["policy"][:2], obs["policy"][:2])
        assert not terminated[:2].any()
    env.resume([0, 1])
    assert env.step(actions)[2][0]
    env.close()


@pytest.mark.parametrize("kind", KINDS)
def test_suspended_rows_are_reset_and_go_on(kind):
    env = SuspendOnWait(adapted(kind=kind))
    env.reset(seed=0)
    env.suspend([0, 2])
    obs, _ = env.reset(options={"env_ids": [0]})
    assert obs["policy"][:, 1].tolist() == [1, 0, 0]
    later, *_ = env.step(torch.zeros(NUM_ENVS, 2))
    assert torch.equal(later["policy"][0], obs["policy"][0])
    assert torch.equal(later["policy"][2], obs["policy"][2])
    env.resume(0)
    ended = env.step(torch.zeros(NUM_ENVS, 2))[2]
    assert ended[[0, 2]].tolist() == [True, False]  # row 0's second episode has one step
    env.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_time_stands_still_for_a_row_that_is_left_out(kind):
    vector, vector_kwargs = KINDS[kind]
    fns = [lambda: TimeLimit(gymnasium.make("Pendulum-v1").unwrapped, 5)] * 2
    env = adapt(vector(fns, autoreset_mode=AutoresetMode.SAME_STEP, **vector_kwargs))
    env.reset(seed=0)
    first = torch.tensor([True, False])
    for step in range(5):
        truncated = env.step_masked(torch.zeros(2, 1), first)[3]
        assert truncated.tolist() == [step == 4, False]
    assert env.episode_length_buf.tolist() == [0, 0]
    env.episode_length_buf = torch.tensor([0, 4])
    assert env.step_masked(torch.zeros(2, 1), first)[3].tolist() == [False, False]
    assert env.step(torch.zeros(2, 1))[3].tolist() == [False, True]
    env.close()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=4),
        spaces.MultiDiscrete([2, 3], start=[1, 5]),
        spaces.MultiBinary(2),
        spaces.Box(2, 5, (2,), np.int64),
        spaces.Box(-1, 1, (), np.float32),
    ],
    ids=str,
)
def test_any_action_will_do_for_a_row_that_is_left_out(space):
    class Strict(gymnasium.Env):
        action_space, observation_space = space, spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32), {}

        def step(self, action):
            assert self.action_space.contains(action)
            return np.zeros(1, np.float32), 1.0, False, False, {}

    env = adapt(SyncVectorEnv([Strict] * 2, autoreset_mode=AutoresetMode.SAME_STEP))
    env.reset()
    second = torch.tensor([False, True])
    actions = torch.as_tensor(np.stack([space.sample(), space.sample()]))
    if space.dtype != np.float32:
        actions = actions.long()
    actions[0] = torch.nan if actions.is_floating_point() else 1000
    given_actions = actions.clone()
    assert env.step_masked(actions, second)[1].tolist() == [0, 1]
    assert env.step_masked(actions.numpy(), second)[1].tolist() == [0, 1]
    assert torch.equal(actions[1], given_actions[1])
    with pytest.raises(InvalidActionError, match=r"rows \[0\]"):
        env.step_masked(actions, ~second)


def test_wrong_masks_and_actions_are_refused_before_any_env_is_called():
    env = adapted()
    obs, _ = env.reset(seed=0)
    mask = torch.tensor([True, False, True])
    for wrong in (mask[:2], mask.float(), mask.tolist()):
        with pytest.raises(InvalidEnvIdsError, match="active_mask"):
            env.step_masked(torch.zeros(NUM_ENVS, 2), wrong)
    for wrong in (torch.zeros(NUM_ENVS, 3), torch.zeros(NUM_ENVS, 2).double(), [[0.0, 0.0]]):
        with pytest.raises(InvalidActionError):
            env.step_masked(wrong, mask)
    assert torch.equal(env.reset(options={"env_ids": []})[0]["policy"], obs["policy"])


def test_calls_out_of_order():
    env = adapted()
    mask = torch.ones(NUM_ENVS, dtype=torch.bool)
    with pytest.raises(ResetNeededError):
        env.step_masked(torch.zeros(NUM_ENVS, 2), mask)
    env.close()
    with pytest.raises(ClosedEnvError):
        env.step_masked(torch.zeros(NUM_ENVS, 2), mask)
    with pytest.raises(ClosedEnvError):
        SuspendOnWait(env)


class CountsSteps(SyncVectorEnv):
    def step(self, actions):
        self.num_steps = getattr(self, "num_steps", 0) + 1
        return super().step(actions)


REFUSED = {
    "own vector": (
        lambda: _in_same_step(CartPoleVectorEnv(2)),
        r"CartPoleVectorEnv steps all.*vectorization_mode=\"sync\"",
    ),
    "vector wrapper": (
        lambda: vector_wrappers.RecordEpisodeStatistics(_vector(SyncVectorEnv)),
        r"RecordEpisodeStatistics.*wrappers=\[",
    ),
    "subclass": (lambda: _vector(CountsSteps), r"CountsSteps has a step\(\) of its own"),
}


def _vector(kind):
    return kind([Noisy] * 2, autoreset_mode=AutoresetMode.SAME_STEP)


def _in_same_step(env):
    env.metadata = dict(env.metadata) | {"autoreset_mode": AutoresetMode.SAME_STEP}
    return env


@pytest.mark.parametrize("which", REFUSED)
def test_where_rows_cannot_be_left_out(which):
    make_env, message = REFUSED[which]
    env = adapt(make_env())
    assert env.capabilities.freeze == "none"
    env.reset()
    with pytest.raises(CapabilityError, match=message):
        SuspendOnWait(env)
    actions = torch.zeros(env.action_space.shape)
    with pytest.raises(CapabilityError, match=message):
        env.step_masked(actions, torch.tensor([True, False]))


def test_levels():
    env = adapted()
    with pytest.raises(CapabilityError, match="not stepping"):
        SuspendOnWait(env, level="approximate")
    assert SuspendOnWait(env, level="skip").level == "skip"
    with pytest.raises(CapabilityError, match="none"):
        adapted().row_control(level="none", rng="global")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_nothing_stays_in_the_env(kind):
    env = adapted(kind=kind)
    env.reset(seed=0)
    base = env.backend_env
    held = base.envs if kind == "sync" else base.parent_pipes
    before = list(held)
    env.step_masked(torch.zeros(NUM_ENVS, 2), torch.tensor([True, False, False]))
    assert list(base.envs if kind == "sync" else base.parent_pipes) == before
    env.close()


class Fails(Noisy):
    def step(self, action):
        if self.row == 1:
            raise ZeroDivisionError("in an env")
        return super().step(action)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_env_that_fails_takes_no_stand_in_with_it(kind, caplog):
    vector, vector_kwargs = KINDS[kind]
    fns = [lambda row=row: Fails(row) for row in range(NUM_ENVS)]
    env = adapt(vector(fns, autoreset_mode=AutoresetMode.SAME_STEP, **vector_kwargs))
    env.reset(seed=0)
    zeros = torch.zeros(NUM_ENVS, 2)
    env.step_masked(zeros, torch.tensor([True, False, True]))
    with pytest.raises(ZeroDivisionError, match="in an env"):
        env.step_masked(zeros, torch.tensor([False, True, True]))
    base = env.backend_env
    if kind == "sync":
        assert all(isinstance(sub_env, Fails) for sub_env in base.envs)
    else:
        assert base.parent_pipes[1] is None  # Gymnasium's way to say that a worker is gone
        connection = multiprocessing.connection.Connection
        assert all(isinstance(base.parent_pipes[row], connection) for row in (0, 2))
    env.close()


def test_an_interrupted_step_of_async_envs_can_be_closed():
    fns = [lambda row=row: Noisy(row, slow=0.2) for row in range(NUM_ENVS)]
    env = adapt(AsyncVectorEnv(fns, autoreset_mode=AutoresetMode.SAME_STEP, **ASYNC))
    env.reset(seed=0)
    base = env.backend_env

    def interrupted(timeout=None):
        raise KeyboardInterrupt

    base.step_wait = interrupted
    with pytest.raises(KeyboardInterrupt):
        env.step_masked(torch.zeros(NUM_ENVS, 2), torch.tensor([True, False, False]))
    del base.step_wait
    closing = threading.Thread(target=env.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    assert not any(process.is_alive() for process in base.processes)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_checker_is_content(mode):
    env = make("gymnasium:Pendulum-v1", num_envs=3, device="cpu", seed=0, vectorization_mode=mode)
    assert check_vector_env(env).num_inactive > 0
    check_vector_env(SuspendOnWait(env), close=True)
