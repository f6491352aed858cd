"""Where it is looked up whether an episode succeeded."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from holdstep import evaluate
from holdstep.envs import adapt, make
from holdstep.errors import ConfigError
from holdstep.wrappers import SuspendOnWait, VectorWrapper
from tests.policies.evaluation.envs import Coin, idle, to_the_goal


class Without(VectorWrapper):
    """Takes an entry out of the info."""

    def __init__(self, env, *, put=None):
        super().__init__(env)
        self.put = put

    def step(self, actions):
        obs, reward, terminated, truncated, info = self.env.step(actions)
        done = terminated | truncated
        success = info.pop("success")
        info.pop("_success", None)
        if self.put is not None:
            info |= self.put(success, done)
        return obs, reward, terminated, truncated, info


def flags(result):
    return [episode.success for episode in result.episodes]


def expected(num_episodes=40):
    return flags(evaluate(Coin(8), idle, num_episodes))


def test_an_entry_of_the_info():
    result = evaluate(Coin(8), idle, 40)
    assert [e.success for e in result.episodes] == [e.length < 30 for e in result.episodes]
    assert result.success_source == "info['success']"
    assert result.num_successes == sum(flags(result))


def test_an_entry_with_a_mask():
    """PointMass reports in the steps in which a row ends only."""
    env = make("holdstep:PointMass", num_envs=4, device="cpu", seed=0, max_episode_length=40)
    result = evaluate(env, to_the_goal, 30)
    assert 0 < result.num_successes < 30
    assert flags(result) == [episode.terminated for episode in result.episodes]


def test_nothing_that_says_so_is_not_a_rate_of_zero():
    result = evaluate(Without(Coin(4)), idle, 10)
    assert result.success_rate is None
    assert result.confidence_interval is None
    assert result.num_successes is None
    assert flags(result) == [None] * 10
    assert result.mean_length > 0


def test_an_env_that_reports_successes_only():
    """What is not reported is no success, once anything is."""
    env = Without(Coin(8), put=lambda success, done: {"success": success, "_success": success})
    result = evaluate(env, idle, 40)
    assert [flag is True for flag in flags(result)] == expected()
    assert result.success_rate == sum(expected()) / 40


def test_entries_of_other_rows_mean_nothing():
    def everywhere(success, done):
        return {"success": torch.ones_like(success), "_success": success}

    for when in ("end", "once"):
        result = evaluate(Without(Coin(8), put=everywhere), idle, 40, success_when=when)
        assert [flag is True for flag in flags(result)] == expected()


def test_what_is_said_of_rows_that_stand_still_means_nothing():
    env = SuspendOnWait(Coin(3), level="skip")
    calls = 0

    def policy(obs):
        nonlocal calls
        calls += 1
        if calls == 4:
            env.suspend([1])
        if calls == 8:
            env.resume([1])
        return idle(obs)

    stood_still = []

    def success(step):
        stood_still.append(not step.info["active"].all())
        return ~step.info["active"]

    result = evaluate(env, policy, 3, success=success, success_when="once")
    assert sum(stood_still) >= 4
    assert result.success_rate == 0.0


def test_another_name_that_is_there_only_in_steps_with_a_success():
    """Once it was there, a step without it is one without a success."""

    def at_times(success, done):
        return {"lifted": success} if success.any() else {}

    result = evaluate(Without(Coin(8), put=at_times), idle, 40, success="lifted")
    assert [flag is True for flag in flags(result)] == expected()
    assert None in flags(result)


def test_another_name():
    env = Without(Coin(8), put=lambda success, done: {"lifted": success.int()})
    result = evaluate(env, idle, 40, success="lifted")
    assert flags(result) == expected()
    assert result.success_source == "info['lifted']"


def test_a_name_that_does_not_exist_is_refused_at_the_first_end():
    env = Without(Coin(8), put=lambda success, done: {"lifted": success})
    with pytest.raises(ConfigError, match=r"Info entries: .*'lifted'.* Did you mean: lifted") as e:
        evaluate(env, idle, 40, success="lifted_")
    assert "terms: none" in str(e.value)


def test_a_function_is_called_with_every_step():
    steps = []

    def early(step):
        steps.append(step)
        assert step.obs["policy"].shape == (8, 3)
        assert step.reward.dtype is torch.float32
        return step.info["success"]

    result = evaluate(Without(Coin(8), put=lambda s, d: {"success": s}), idle, 40, success=early)
    assert flags(result) == expected()
    assert len(steps) == result.num_steps
    assert "early" in result.success_source


def test_once_or_at_the_end():
    """A row that is at the goal in its third step, and not when its episode ends."""

    class Passing(Coin):
        def _annotate(self, info, terminated, done):
            info["success"] = self._state[:, 0] == 2

    assert evaluate(Passing(4), idle, 12).success_rate == 0.0
    assert evaluate(Passing(4), idle, 12, success_when="once").success_rate == 1.0
    # What was reached in an episode is forgotten in the next one of the row.
    env = Passing(1)
    original = env._annotate

    def only_in_the_first(info, terminated, done):
        original(info, terminated, done)
        only_in_the_first.ended |= bool(done.any())
        if only_in_the_first.ended:
            info["success"] = torch.zeros(1, dtype=torch.bool)

    only_in_the_first.ended = False
    env._annotate = only_in_the_first
    assert flags(evaluate(env, idle, 3, success_when="once")) == [True, False, False]


@pytest.mark.parametrize("when", ["end", "once"])
def test_partial_credit_is_refused(when):
    env = Without(Coin(4), put=lambda success, done: {"success": 0.5 * done})
    with pytest.raises(ConfigError, match=r"must be True or False, 1 or 0.*got \[0.5"):
        evaluate(env, idle, 4, success_when=when)


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (torch.zeros(4, 1), r"shape \(4,\), got \(4, 1\)"),
        (True, r"shape \(4,\), got \(\)"),
        (np.zeros(3), r"shape \(4,\), got \(3,\)"),
    ],
)
def test_entries_that_are_not_one_per_row(put, message):
    env = Without(Coin(4), put=lambda success, done: {"success": put})
    with pytest.raises(ConfigError, match=message):
        evaluate(env, idle, 4)


@pytest.mark.parametrize("returned", [None, 1.0, torch.zeros(3), torch.zeros(4, 2)])
def test_functions_that_return_something_else(returned):
    with pytest.raises(ConfigError, match=r"must return a tensor of shape \(4,\)"):
        evaluate(Coin(4), idle, 4, success=lambda step: returned)


@pytest.mark.parametrize("success", [3, ["success"], b"success"])
def test_sources_that_make_no_sense(success):
    with pytest.raises(ConfigError, match="success must be the name of"):
        evaluate(Coin(4), idle, 4, success=success)


def test_an_unknown_moment():
    with pytest.raises(ConfigError, match="success_when must be 'end' or 'once', got 'ever'"):
        evaluate(Coin(4), idle, 4, success_when="ever")


class Walk(gymnasium.Env):
    """Ends at a step that is drawn at the reset; succeeds if that is an even one."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = self.length = int(self.np_random.integers(2, 9))
        return np.zeros(1, np.float32), {"success": True}  # of the reset: says nothing

    def step(self, action):
        self.left -= 1
        ended = self.left == 0
        info = {"success": ended and self.length % 2 == 0}
        return np.zeros(1, np.float32), 1.0, ended, False, info


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_final_info_counts_where_there_is_one(mode):
    env = adapt(SyncVectorEnv([Walk] * 3, autoreset_mode=mode))
    result = evaluate(env, idle, 30)
    assert flags(result) == [episode.length % 2 == 0 for episode in result.episodes]
    assert 0 < result.success_rate < 1
