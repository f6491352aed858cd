"""What evaluate() takes, refuses, and leaves behind."""

import sys

import gymnasium
import pytest
import torch

import holdstep
from holdstep import evaluate
from holdstep.envs import RslRlVecEnv, make
from holdstep.errors import ConfigError, EvaluationError, HoldstepError
from holdstep.policies.evaluation import run
from holdstep.wrappers import SuspendOnWait
from tests.policies.evaluation.envs import Coin, Scripted, idle, to_the_goal


def test_it_is_where_users_look_for_it():
    from holdstep.policies import EvalResult

    assert holdstep.evaluate is holdstep.policies.evaluate is evaluate
    assert holdstep.EvalResult is EvalResult
    assert {"evaluate", "EvalResult"} <= set(dir(holdstep)) & set(dir(holdstep.policies))


class Watching:
    """A policy that notes what it is told."""

    def __init__(self):
        self.forgotten = []
        self.told = []

    def __call__(self, obs):
        assert not torch.is_grad_enabled()
        return idle(obs)

    def reset(self, done_mask=None):
        self.forgotten.append(None if done_mask is None else done_mask.tolist())

    def set_instructions(self, env_ids, texts):
        self.told += zip(env_ids, texts, strict=True)


def test_a_policy_forgets_what_ended():
    policy = Watching()
    evaluate(Scripted([[2, 3, 9], [3, 9, 9]]), policy, 3, per_episode_seeds=False)
    neither, first, second = [False, False], [True, False], [False, True]
    assert policy.forgotten == [None, neither, first, second, neither, first]


def test_a_policy_forgets_what_the_time_limit_ended():
    env = make("holdstep:CartPole", num_envs=2, device="cpu", max_episode_length=3)
    policy = Watching()
    assert evaluate(env, policy, 2).num_truncated == 2
    assert policy.forgotten == [None, [False, False], [False, False], [True, True]]


def test_instructions_by_start_order():
    texts = ["left", "right", "up", "down"]
    policy = Watching()
    result = evaluate(
        Scripted([[2, 9, 9], [5, 9, 9]]), policy, 4, instructions=texts, per_episode_seeds=False
    )
    assert [episode.instruction for episode in result.episodes] == texts
    assert policy.told == [(e.env_id, e.instruction) for e in result.episodes]
    assert [episode.env_id for episode in result.episodes] == [0, 1, 0, 1]

    policy = Watching()
    result = evaluate(Coin(3), policy, 7, instructions=lambda episode: f"task {episode % 2}")
    assert [e.instruction for e in result.episodes] == [f"task {i % 2}" for i in range(7)]
    assert len(policy.told) == 7


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        (["a", "b"], "3 episodes need as many instructions, got 2"),
        ("pick up the cube", "one text per episode, or a function"),
        (7, "one text per episode, or a function"),
    ],
)
def test_instructions_that_make_no_sense(instructions, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(Coin(2), Watching(), 3, instructions=instructions)


def test_a_policy_that_takes_no_instructions():
    with pytest.raises(ConfigError, match="function takes no instructions"):
        evaluate(Coin(2), idle, 3, instructions=["a"] * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_episodes": 0}, "num_episodes must be an integer of at least 1, got 0"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"seed": 2**31}, "seed must be an integer from 0"),
        ({"seed": True}, "seed must be an integer from 0"),
        ({"seed": None}, "seed must be an integer from 0"),
        ({"confidence": 95}, "confidence must lie between 0 and 1"),
        ({"max_steps": 0}, "max_steps must be an integer of at least 1"),
        ({"max_steps": 10.0}, "max_steps must be an integer of at least 1"),
        ({"policy": "policy.pt"}, "policy must be a callable obs -> actions or a ChunkedPolicy"),
        ({"execute": 4}, "execute can be given for a ChunkedPolicy only"),
        ({"timeline": "trace.jsonl"}, "timeline can be given for a ChunkedPolicy only"),
        ({"timeout_s": 3.0}, "timeout_s can be given for a ChunkedPolicy only"),
    ],
)
def test_arguments_that_make_no_sense(options, message):
    env = Coin(2)
    with pytest.raises(ConfigError, match=message):
        evaluate(**{"env": env, "policy": idle, "num_episodes": 3} | options)
    assert not env.row_steps.any(), "refused before anything was run"


def test_envs_that_are_none():
    with pytest.raises(ConfigError, match=r"takes a holdstep env, got CartPoleEnv.*adapt\(env\)"):
        evaluate(gymnasium.make("CartPole-v1").unwrapped, idle, 3)
    with pytest.raises(ConfigError, match=r"take its \.env"):
        evaluate(RslRlVecEnv(make("holdstep:CartPole", num_envs=2, device="cpu")), idle, 3)


def suspended_env(lengths):
    return SuspendOnWait(Scripted(lengths), level="skip")


def test_episodes_that_do_not_end_are_named_and_the_others_kept():
    env = suspended_env([[3, 3, 3, 3], [900] * 4, [5, 5, 5, 5], [800] * 4])
    with pytest.raises(EvaluationError) as caught:
        evaluate(env, idle, 6, max_steps=20, per_episode_seeds=False)
    message = str(caught.value)
    assert "rows [1, 3] have not ended after [20, 20] env steps; at most 20" in message
    assert "after 20 steps; 4 of 6 episodes had ended" in caught.value.__notes__[0]
    partial = caught.value.partial
    assert [episode.episode for episode in partial.episodes] == [0, 2, 4, 5]
    assert not partial.is_complete
    assert not env.suspended.any()
    assert isinstance(caught.value, HoldstepError)


def test_an_episode_may_take_exactly_max_steps():
    result = evaluate(Scripted([[20] * 3]), idle, 2, max_steps=20, per_episode_seeds=False)
    assert [episode.length for episode in result.episodes] == [20, 20]


def test_the_time_limit_of_the_env_is_what_ends_its_episodes():
    env = make("holdstep:PointMass", num_envs=2, device="cpu", max_episode_length=7)
    result = evaluate(env, lambda obs: torch.zeros(2, 2), 6)
    assert result.num_truncated == 6
    assert result.num_terminated == 0
    assert result.success_rate == 0.0
    assert {episode.length for episode in result.episodes} == {7}


def test_an_env_without_a_time_limit_to_speak_of():
    env = holdstep.wrappers.VectorWrapper(Coin(2))
    env.max_episode_length = 10**9
    with pytest.raises(ConfigError, match="1000000000 steps, which is to say for ever"):
        evaluate(env, idle, 2)
    assert evaluate(env, idle, 2, max_steps=100).is_complete
    env.max_episode_length = None
    assert evaluate(env, idle, 2).is_complete


def test_without_max_steps_twice_the_time_limit_is_the_most():
    class Overrunning(Scripted):
        """Never notices its time limit."""

        def _finish_step(self, state, length, reward, terminated, truncated, active):
            return super()._finish_step(
                state, length * 0, reward, terminated, terminated & False, active
            )

    env = Overrunning([[900] * 3])
    env.max_episode_length = 450
    assert evaluate(env, idle, 1, per_episode_seeds=False).mean_length == 900
    env.max_episode_length = 100
    with pytest.raises(EvaluationError, match=r"after \[200\] env steps; at most 200"):
        evaluate(env, idle, 1, per_episode_seeds=False)


def test_rows_that_somebody_else_never_resumes(monkeypatch):
    monkeypatch.setattr(run, "_MOST_IDLE_STEPS", 50)
    env = suspended_env([[30] * 20, [8] * 20])

    def policy(obs):
        if not env.suspended[0]:
            env.suspend([0])
        return idle(obs)

    with pytest.raises(EvaluationError, match=r"none of rows \[0\] has advanced.*\[0\]"):
        # Two episodes start at once: that of row 1 ends, and its row goes on, since it was resumed.
        evaluate(Unparked(env), policy, 2, per_episode_seeds=False)


class Unparked(holdstep.wrappers.VectorWrapper):
    """Resumes row 1 before each step, so that something is left to be stepped."""

    def step(self, actions):
        if self.env.suspended[1]:
            self.env.resume([1])
        return self.env.step(actions)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_no_row_is_left_parked_when_the_policy_fails(error):
    env = suspended_env([[3] * 6, [9] * 6, [9] * 6])
    calls = 0

    def policy(obs):
        nonlocal calls
        calls += 1
        if calls == 6:
            assert env.suspended.tolist() == [True, False, False]
            raise error
        return idle(obs)

    with pytest.raises(type(error)) as caught:
        evaluate(env, policy, 3, per_episode_seeds=False)
    assert caught.value is error
    assert not env.suspended.any()
    if isinstance(error, RuntimeError):
        assert "1 of 3 episodes had ended" in error.__notes__[0]
    # And the env is as good as new.
    assert evaluate(env, idle, 2).is_complete


def test_what_the_user_suspends_himself_is_left_to_him():
    env = suspended_env([[2, 2, 2], [6, 9, 9], [4, 9, 9]])
    calls = 0

    def policy(obs):
        nonlocal calls
        calls += 1
        if calls == 5:
            env.resume([0])  # parked by the evaluation by now
        return idle(obs)

    assert evaluate(env, policy, 3, per_episode_seeds=False).is_complete
    assert not env.suspended.any()


def test_progress_goes_to_standard_error(capsys):
    evaluate(Coin(4), idle, 5, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "5/5" in captured.err
    evaluate(Coin(4), idle, 5)
    assert capsys.readouterr().err == ""


def test_the_host_is_asked_once_per_step(monkeypatch):
    """What would wait for a GPU: here, transfers of the evaluation's own."""
    num_transfers = 0
    original = torch.Tensor.cpu

    def counting(self, *args, **kwargs):
        nonlocal num_transfers
        num_transfers += 1
        return original(self, *args, **kwargs)

    env = Coin(8)
    monkeypatch.setattr(torch.Tensor, "cpu", counting)
    for name in ("item", "tolist", "numpy", "nonzero", "__bool__", "__int__", "__float__"):
        original_method = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, _unless_called_from_the_evaluation(original_method, name)
        )
    result = evaluate(env, idle, 30)
    assert num_transfers == result.num_steps


def _unless_called_from_the_evaluation(method, name):
    def checked(self, *args, **kwargs):
        caller = sys._getframe(1).f_code.co_filename
        allowed = name == "numpy" and caller.endswith("meter.py")  # of what was transferred
        assert allowed or "policies/evaluation/" not in caller.replace("tests/", "/t/", 1), name
        return method(self, *args, **kwargs)

    return checked


def test_wall_times_and_metadata():
    result = evaluate(make("holdstep:PointMass", num_envs=3, device="cpu"), to_the_goal, 5)
    assert all(0 < e.wall_time_s <= result.wall_time_s for e in result.episodes)
    assert result.metadata["env"] == "holdstep:PointMass"
    assert result.metadata["policy"] == "to_the_goal"
    assert result.metadata["versions"]["torch"] == torch.__version__
    assert result.metadata["device"] == "cpu"
    assert (result.num_envs, result.seed, result.determinism) == (3, 0, "exact")
