import asyncio
import concurrent.futures
import copy

import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.envs.reference import CartPole, PointMass
from holdstep.errors import (
    CapabilityError,
    ClosedEnvError,
    ConfigError,
    HoldstepError,
    InvalidActionError,
    InvalidEnvIdsError,
    ResetNeededError,
    SnapshotError,
    SuspensionError,
    SuspensionTimeoutError,
    WrapperOrderError,
)
from holdstep.wrappers import SuspendOnWait, VectorWrapper
from tests.wrappers.fake_clock import FakeClock

NUM_ENVS = 4


def suspendable(env_class=CartPole, max_episode_length=6, **kwargs):
    kwargs.setdefault("clock", FakeClock())
    inner = env_class(NUM_ENVS, seed=3, max_episode_length=max_episode_length)
    env = SuspendOnWait(inner, **kwargs)
    env.reset()
    return env


def zeros(env):
    return torch.zeros(env.action_space.shape)


def state_of(env):
    """All that must not change when a call is refused."""
    buffers = {name: value.tolist() for name, value in env.unwrapped.row_buffers.items()}
    return buffers, env.suspended.tolist(), env._waits.env_ids


def active_in_step(env):
    return env.step(zeros(env))[4]["active"].tolist()


def test_suspended_rows_stand_still_and_others_go_on():
    env = suspendable()
    obs = env.step(zeros(env))[0]
    env.suspend([1, 3])
    assert env.suspended.tolist() == [False, True, False, True]
    before = copy.deepcopy(dict(env.unwrapped.row_buffers))
    actions = zeros(env)
    actions[1], actions[3] = torch.nan, torch.inf
    for _ in range(8):
        later, reward, terminated, truncated, info = env.step(actions)
        assert info["active"].tolist() == [True, False, True, False]
        for row in (1, 3):
            assert all(torch.equal(later[name][row], obs[name][row]) for name in obs)
            assert reward[row] == 0
            assert not terminated[row]
            assert not truncated[row]
        for name, value in env.unwrapped.row_buffers.items():
            assert torch.equal(value[[1, 3]], before[name][[1, 3]]), name
    assert not torch.equal(later["policy"][0], obs["policy"][0])
    env.resume(env.suspended)
    assert active_in_step(env) == [True] * 4


def test_active_is_there_with_nobody_suspended_and_masks_are_the_callers():
    env = suspendable()
    assert active_in_step(env) == [True] * 4
    env.suspend(0)
    suspended = env.suspended
    suspended.fill_(True)
    active = env.step(zeros(env))[4]["active"]
    active.fill_(False)
    assert env.suspended.tolist() == [True, False, False, False]
    assert active_in_step(env) == [False, True, True, True]


@pytest.mark.parametrize(
    "env_ids",
    [2, [2], np.array([2]), torch.tensor([2]), [False, False, True, False]],
    ids=["id", "list", "array", "tensor", "mask"],
)
def test_forms_of_env_ids(env_ids):
    env = suspendable()
    env.suspend(env_ids)
    assert active_in_step(env) == [True, True, False, True]
    env.resume(env_ids)
    assert active_in_step(env) == [True] * 4


def test_actions_of_suspended_rows_as_numpy():
    env = suspendable()
    env.suspend(1)
    actions = zeros(env).numpy()
    actions[1] = np.nan
    env.step(actions)
    assert np.isnan(actions[1]).all()
    actions[2] = np.nan
    with pytest.raises(InvalidActionError, match=r"rows \[2\]"):
        env.step(actions)


def test_shapes_of_actions_are_checked_all_the_same():
    env = suspendable()
    env.suspend(1)
    before = state_of(env)
    for wrong in (torch.zeros(3, 1), torch.zeros(4, 2), torch.zeros(4, 1).double()):
        with pytest.raises(InvalidActionError):
            env.step(wrong)
    assert state_of(env) == before


def test_nothing_suspended_goes_straight_through():
    env = suspendable()
    env.env.step_masked = None  # would raise
    env._control = env._waits = None
    env.step(zeros(env))


@pytest.mark.parametrize("kind", ["future", "callable", "list"])
def test_rows_are_resumed_when_what_they_wait_for_is_done(kind):
    env = suspendable()
    future, ready = concurrent.futures.Future(), []
    until = {
        "future": future,
        "callable": lambda: bool(ready),
        "list": [future, lambda: bool(ready)],
    }[kind]
    env.suspend([0, 2], until=until)
    for _ in range(3):
        assert active_in_step(env) == [False, True, False, True]
    ready.append(1)
    if kind != "callable":
        future.set_result(None)
    assert active_in_step(env) == [True] * 4
    assert not env.suspended.any()


def test_each_wait_of_a_list_is_of_its_own_row():
    env = suspendable()
    first, second = concurrent.futures.Future(), concurrent.futures.Future()
    env.suspend([2, 0], until=[first, second])
    first.set_result(None)
    assert active_in_step(env) == [False, True, True, True]
    second.set_result(None)
    assert active_in_step(env) == [True] * 4


def test_a_row_resumed_by_hand_forgets_what_it_waited_for():
    env = suspendable()
    future = concurrent.futures.Future()
    env.suspend([0, 1], until=future)
    env.resume(0)
    env.suspend(0)
    future.set_result(None)
    assert active_in_step(env) == [False, True, True, True]


def test_failed_waits_are_raised_before_anything_moves():
    env = suspendable()
    future, other = concurrent.futures.Future(), concurrent.futures.Future()
    env.suspend([0, 2], until=future)
    env.suspend(3, until=other)
    other.set_result(None)
    future.set_exception(OSError("planner"))
    buffers = state_of(env)[0]
    with pytest.raises(SuspensionError, match=r"rows \[0, 2\].*planner") as caught:
        env.step(zeros(env))
    assert isinstance(caught.value.__cause__, OSError)
    assert state_of(env) == (buffers, [False] * 4, [])
    assert active_in_step(env) == [True] * 4


def test_several_failures_come_as_a_group():
    env = suspendable()
    cancelled = concurrent.futures.Future()
    cancelled.cancel()
    env.suspend([0, 1], until=[cancelled, lambda: 1 / 0])
    with pytest.raises(SuspensionError, match=r"rows \[0, 1\]") as caught:
        env.step(zeros(env))
    group = caught.value.__cause__
    assert {type(error) for error in group.exceptions} == {
        concurrent.futures.CancelledError,
        ZeroDivisionError,
    }


def test_a_step_waits_while_everything_is_suspended():
    clock = FakeClock()
    env = suspendable(clock=clock)
    futures = [concurrent.futures.Future() for _ in range(2)]
    env.suspend([0, 1, 3], until=[futures[0], futures[0], futures[1]])
    env.suspend(2)
    clock.at(5.0, lambda: futures[0].set_result(None))
    assert active_in_step(env) == [True, True, False, False]
    assert clock.time_s == 5.0
    assert active_in_step(env) == [True, True, False, False]
    assert clock.time_s == 5.0


def test_rows_can_be_resumed_before_their_action_is_decided():
    clock = FakeClock()
    env = suspendable(clock=clock)
    assert env.resume_finished().tolist() == []
    future = concurrent.futures.Future()
    env.suspend([2, 3], until=[future, lambda: clock.time_s >= 4])
    assert env.resume_finished().tolist() == []
    assert clock.pauses == []
    future.set_result(None)
    assert env.resume_finished().tolist() == [2]
    assert env.suspended.tolist() == [False, False, False, True]
    assert env.resume_finished(timeout_s=None).tolist() == [3]
    assert clock.time_s >= 4
    with pytest.raises(SuspensionError, match="waits for"):
        env.resume_finished(timeout_s=None)
    env.suspend(0, until=lambda: False)
    with pytest.raises(SuspensionTimeoutError):
        env.resume_finished(timeout_s=2)
    assert env.suspended.tolist() == [True, False, False, False]


def test_a_step_resumes_nobody_after_the_caller_has_looked():
    env = suspendable()
    first, second = concurrent.futures.Future(), concurrent.futures.Future()
    env.suspend([2, 3], until=[first, second])
    first.set_result(None)
    assert env.resume_finished().tolist() == [2]
    second.set_result(None)  # while the actions are decided
    with pytest.raises(InvalidActionError):
        env.step(torch.zeros(3, 1))
    assert active_in_step(env) == [True, True, True, False]
    assert active_in_step(env) == [True] * 4  # nobody has looked before this one


def test_a_step_resumes_nobody_after_the_caller_has_waited():
    env = suspendable()
    first, second = concurrent.futures.Future(), concurrent.futures.Future()
    env.suspend([2, 3], until=[first, second])
    first.set_result(None)
    assert asyncio.run(env.wait_any()).tolist() == [2]
    second.set_result(None)  # while the actions are decided
    assert active_in_step(env) == [True, True, True, False]
    assert active_in_step(env) == [True] * 4


@pytest.mark.parametrize("between", ["step", "step_masked", "reset"])
def test_a_look_holds_for_one_step(between):
    env = suspendable()
    env.resume_finished()
    if between == "reset":
        env.reset()
    elif between == "step":
        env.step(zeros(env))
    else:
        env.step_masked(zeros(env), torch.ones(4, dtype=torch.bool))
    env.suspend(1, until=lambda: True)
    assert active_in_step(env) == [True] * 4


def test_a_step_of_some_rows_resumes_nobody_after_the_caller_has_looked():
    env = suspendable()
    env.resume_finished()
    env.suspend(1, until=lambda: True)
    everyone = torch.ones(4, dtype=torch.bool)
    actives = [env.step_masked(zeros(env), everyone)[4]["active"].tolist() for _ in range(2)]
    assert actives == [[True, False, True, True], [True] * 4]


def test_a_step_waits_after_a_look_too_while_everything_is_suspended():
    clock = FakeClock()
    env = suspendable(clock=clock)
    env.suspend(range(4), until=lambda: clock.time_s > 1)
    assert env.resume_finished().tolist() == []
    assert active_in_step(env) == [True] * 4


def test_a_condition_may_let_another_row_wait_for_something_else():
    env = suspendable()
    later = concurrent.futures.Future()

    def exchange():
        if not waited:
            waited.append(1)
            env.resume(0)
            env.suspend(0, until=later)
        return False

    waited = []
    env.suspend([0, 1], until=[lambda: True, exchange])
    assert active_in_step(env) == [False, False, True, True]
    later.set_result(None)
    assert active_in_step(env) == [True, False, True, True]


def test_a_condition_may_reset_the_env():
    env = suspendable()

    def start_over():
        env.reset()
        env.suspend(0)
        return False

    env.suspend([0, 1], until=[lambda: True, start_over])
    assert active_in_step(env) == [False, True, True, True]


def test_a_condition_that_suspends_all_other_rows():
    clock = FakeClock()
    env = suspendable(clock=clock)

    def suspend_others():
        if not env.suspended[1]:
            env.suspend([1, 2, 3], until=lambda: clock.time_s > 1)
        return False

    env.suspend(0, until=suspend_others)
    assert active_in_step(env) == [False, True, True, True]
    assert clock.time_s > 1


@pytest.mark.parametrize("answer", [True, False])
def test_a_condition_that_resumes_rows_while_everything_is_suspended(answer):
    env = suspendable()

    def resume_both():
        env.resume([0, 1])
        return answer

    env.suspend([0, 2, 3])
    env.suspend(1, until=resume_both)
    assert active_in_step(env) == [True, True, False, False]


@pytest.mark.filterwarnings("error")
def test_a_condition_that_returns_a_coroutine():
    async def ready():
        return False

    env = suspendable()
    env.suspend(1, until=lambda: ready())
    with pytest.raises(SuspensionError, match=r"rows \[1\].*must return a bool") as caught:
        env.step(zeros(env))
    assert isinstance(caught.value.__cause__, ConfigError)


@pytest.mark.parametrize("timeout_s", [-1, float("nan"), float("inf"), "1", False])
def test_times_to_wait_are_checked(timeout_s):
    env = suspendable()
    env.suspend(1, until=lambda: True)
    before = state_of(env)
    with pytest.raises(ConfigError, match="timeout_s must be None or a number of seconds >= 0"):
        env.resume_finished(timeout_s=timeout_s)
    with pytest.raises(ConfigError, match="timeout_s must be None or a number of seconds >= 0"):
        asyncio.run(env.wait_any(timeout_s=timeout_s))
    assert state_of(env) == before
    assert active_in_step(env) == [True] * 4


def test_a_step_waits_no_longer_than_it_may():
    clock = FakeClock()
    env = suspendable(clock=clock, wait_timeout_s=3)
    env.suspend(range(4), until=lambda: clock.time_s > 5)
    before = state_of(env)
    with pytest.raises(SuspensionTimeoutError, match=r"Rows \[0, 1, 2, 3\].*3 s"):
        env.step(zeros(env))
    assert state_of(env) == before
    assert active_in_step(env) == [True] * 4  # waits on


def test_an_interrupted_step_leaves_everything_as_it_was():
    clock = FakeClock()
    env = suspendable(clock=clock)
    future = concurrent.futures.Future()
    env.suspend(range(4), until=future)
    before = state_of(env)

    def interrupt():
        raise KeyboardInterrupt

    clock.at(1.0, interrupt)
    with pytest.raises(KeyboardInterrupt):
        env.step(zeros(env))
    assert state_of(env) == before
    future.set_result(None)
    assert active_in_step(env) == [True] * 4


def test_a_step_that_could_never_be_made_is_refused():
    env = suspendable()
    env.suspend(range(4))
    before = state_of(env)
    with pytest.raises(SuspensionError, match="resume"):
        env.step(zeros(env))
    assert state_of(env) == before


def test_asyncio_futures_within_their_loop():
    async def run():
        env = suspendable()
        loop = asyncio.get_running_loop()
        task = loop.create_future()
        env.suspend([1, 2], until=task)
        assert active_in_step(env) == [True, False, False, True]
        env.suspend([0, 3])
        with pytest.raises(SuspensionError, match="wait_any"):
            env.step(zeros(env))
        loop.call_later(0.01, task.set_result, None)
        assert (await env.wait_any()).tolist() == [1, 2]
        assert active_in_step(env) == [False, True, True, False]
        with pytest.raises(SuspensionError, match="until="):
            await env.wait_any()
        env.suspend(1, until=loop.create_future())
        with pytest.raises(SuspensionTimeoutError):
            await env.wait_any(timeout_s=0.01)
        failing = loop.create_future()
        failing.set_exception(OSError("planner"))
        env.suspend(2, until=failing)
        with pytest.raises(SuspensionError, match="planner"):
            await env.wait_any()
        assert env.suspended.tolist() == [True, True, False, True]

    asyncio.run(run())


def test_a_suspended_row_that_is_reset_stays_suspended_at_its_start():
    env = suspendable()
    future = concurrent.futures.Future()
    env.step(zeros(env))
    env.suspend([0, 1], until=future)
    obs, _ = env.reset(options={"env_ids": [1, 2]})
    assert env.suspended.tolist() == [True, True, False, False]
    assert env.episode_length_buf.tolist() == [1, 0, 0, 1]
    later, *_ = env.step(zeros(env))
    assert torch.equal(later["policy"][:2], obs["policy"][:2])
    assert env.episode_length_buf.tolist() == [1, 0, 1, 2]
    future.set_result(None)
    assert active_in_step(env) == [True] * 4


def test_a_reset_of_all_rows_starts_everything_over():
    env = suspendable()
    env.suspend([0, 1], until=concurrent.futures.Future())
    env.suspend(2)
    env.reset()
    assert not env.suspended.any()
    assert not env._waits
    assert active_in_step(env) == [True] * 4


def test_a_reset_that_is_refused_changes_nothing():
    env = suspendable()
    env.suspend(1)
    before = state_of(env)
    with pytest.raises(InvalidEnvIdsError):
        env.reset(options={"env_ids": [1, 9]})
    assert state_of(env) == before


def test_set_lengths_hold_for_suspended_rows():
    env = suspendable(max_episode_length=9)
    env.suspend([1, 2])
    env.episode_length_buf = torch.tensor([1, 8, 3, 4])
    env.step(zeros(env))
    assert env.episode_length_buf.tolist() == [2, 8, 3, 5]
    env.resume([1, 2])
    assert env.step(zeros(env))[3].tolist() == [False, True, False, False]


class RecordingControl:
    """Passes on to a row control, and notes what it is told."""

    def __init__(self, control):
        self.control, self.calls = control, []

    def __getattr__(self, name):
        return getattr(self.control, name)

    def hold(self, env_ids):
        self.calls.append(("hold", env_ids.tolist()))

    def release(self, env_ids):
        self.calls.append(("release", env_ids.tolist()))


def test_a_control_that_puts_rows_back_is_told_of_each_new_state():
    """The reference envs need not know; backends that keep copies of held rows do."""
    env = suspendable()
    env._control = control = RecordingControl(env._control)

    def told():
        calls, control.calls = control.calls, []
        return calls

    env.suspend([2, 1])
    assert told() == [("hold", [2, 1])]
    env.reset(options={"env_ids": [1, 3]})
    assert told() == [("hold", [1])]
    env.reset(options={"env_ids": [3]})
    assert told() == []
    env.episode_length_buf = torch.zeros(4, dtype=torch.int64)
    assert told() == [("hold", [1, 2])]
    env.restore(env.snapshot([0, 3]), [2, 3])
    assert told() == [("hold", [2])]
    env.fork(0, [1, 2, 3])
    assert told() == [("hold", [1, 2])]
    env.resume(1)
    assert told() == [("release", [1])]
    env.reset()
    assert told() == [("release", [2])]


def test_snapshots_put_rows_back_exactly():
    env = suspendable(PointMass)
    env.step(zeros(env))
    snapshot = env.snapshot([3, 1])
    expected = [env.step(zeros(env) + 0.3) for _ in range(9)]
    env.suspend(2)
    obs = env.restore(snapshot, [3, 1])
    assert torch.equal(obs["policy"][[3, 1]], snapshot.obs["policy"])
    env.suspend(0)
    for want in expected:  # over several resets, with the random streams
        got = env.step(zeros(env) + 0.3)
        for row in (1, 3):
            assert torch.equal(got[0]["policy"][row], want[0]["policy"][row])
            assert [part[row] for part in got[1:4]] == [part[row] for part in want[1:4]]
    assert len(env.snapshot()) == 4


def test_one_row_is_forked_into_many_and_suspended_ones_stay_so():
    env = suspendable()
    for _ in range(3):
        env.step(torch.tensor([[0.9], [0.0], [0.0], [0.0]]))
    env.suspend([1, 2])
    obs = env.fork(0, [1, 2, 3])
    assert all(torch.equal(obs["critic"][row], obs["critic"][0]) for row in (1, 2, 3))
    assert env.suspended.tolist() == [False, True, True, False]
    later = env.step(zeros(env))[0]["policy"]
    assert torch.equal(later[1], obs["policy"][1])
    assert torch.equal(later[3], later[0])
    assert not torch.equal(later[0], obs["policy"][0])
    obs = env.fork([3, 3], [1, 0])
    assert torch.equal(obs["policy"][1], obs["policy"][0])


BAD_CALLS = {
    "out of range": (InvalidEnvIdsError, lambda env: env.suspend([0, 4])),
    "repeated": (InvalidEnvIdsError, lambda env: env.suspend([0, 0])),
    "long mask": (InvalidEnvIdsError, lambda env: env.suspend([True] * 5)),
    "float ids": (InvalidEnvIdsError, lambda env: env.resume([1.0])),
    "suspended again": (SuspensionError, lambda env: env.suspend([0, 1, 2])),
    "running": (SuspensionError, lambda env: env.resume([1, 2, 3])),
    "until": (ConfigError, lambda env: env.suspend([0, 2], until=3)),
    "until length": (ConfigError, lambda env: env.suspend([0, 2], until=[lambda: True])),
    "until second": (ConfigError, lambda env: env.suspend([0, 2], until=[lambda: True, 3])),
    "overlap": (InvalidEnvIdsError, lambda env: env.fork([0, 1], [1, 2])),
    "fork lengths": (InvalidEnvIdsError, lambda env: env.fork([0, 1], [2])),
    "fork source": (InvalidEnvIdsError, lambda env: env.fork([0, 7], [2, 3])),
    "fork source negative": (InvalidEnvIdsError, lambda env: env.fork([-1, -1], [2, 3])),
    "fork source text": (InvalidEnvIdsError, lambda env: env.fork("0", [2])),
    "fork source float": (InvalidEnvIdsError, lambda env: env.fork([0.0], [2])),
    "fork repeated": (InvalidEnvIdsError, lambda env: env.fork(0, [2, 2])),
    "snapshot rows": (SnapshotError, lambda env: env.restore(env.snapshot([0, 1]), [1])),
    "no snapshot": (SnapshotError, lambda env: env.restore({"state": 1}, [1])),
    "other task": (
        SnapshotError,
        lambda env: env.restore(suspendable(PointMass).snapshot([0]), [1]),
    ),
    "other limit": (
        SnapshotError,
        lambda env: env.restore(suspendable(max_episode_length=7).snapshot([0]), [1]),
    ),
}


@pytest.mark.parametrize("bad_call", BAD_CALLS)
def test_what_is_refused_changes_nothing(bad_call):
    error, call = BAD_CALLS[bad_call]
    env = suspendable()
    env.step(zeros(env))
    env.suspend(1, until=concurrent.futures.Future())
    before = state_of(env)
    with pytest.raises(error) as caught:
        call(env)
    assert isinstance(caught.value, HoldstepError)
    assert state_of(env) == before


def test_errors_name_the_rows():
    env = suspendable()
    env.suspend([1, 3])
    with pytest.raises(SuspensionError, match=r"Rows \[1, 3\] are suspended already"):
        env.suspend([0, 1, 3])
    with pytest.raises(SuspensionError, match=r"Rows \[0, 2\] are not suspended"):
        env.resume([0, 1, 2])


def test_each_suspension_has_a_number_of_its_own():
    """By which who suspended a row knows whether it is still theirs to resume."""
    env = suspendable()
    env.suspend([0, 2])
    first = dict(env.suspensions)
    assert set(first) == env.suspended_ids == {0, 2}
    env.resume([2])
    env.suspend([2, 3])
    assert env.suspensions[0] == first[0]
    assert env.suspensions[2] not in first.values()
    env.reset(options={"env_ids": torch.tensor([0])})
    assert env.suspensions[0] == first[0]  # it stays suspended
    numbers = {*first.values(), *env.suspensions.values()}
    env.reset()
    assert not env.suspensions
    env.suspend([0])
    assert env.suspensions[0] not in numbers
    with pytest.raises(TypeError):
        env.suspensions[1] = 1


def test_no_rows_are_no_error():
    env = suspendable()
    env.suspend([])
    env.suspend([], until=[])
    env.resume([])
    env.fork(0, [])
    assert not env.suspended.any()


CALLS = [
    lambda env: env.suspend(0),
    lambda env: env.resume(0),
    lambda env: env.resume_finished(),
    lambda env: env.snapshot(),
    lambda env: env.fork(0, 1),
    lambda env: asyncio.run(env.wait_any()),
]


@pytest.mark.parametrize("call", CALLS)
def test_reset_comes_first_and_close_last(call):
    env = SuspendOnWait(CartPole(2))
    with pytest.raises(ResetNeededError):
        call(env)
    env.reset()
    env.suspend([0, 1], until=concurrent.futures.Future())
    env.close()
    env.close()
    for each in (call, lambda env: env.step(zeros(env))):
        with pytest.raises(ClosedEnvError):
            each(env)


def test_a_simulator_that_was_closed_from_elsewhere_is_not_waited_for():
    env = suspendable()
    env.suspend(range(4), until=concurrent.futures.Future())
    env.unwrapped.close()
    with pytest.raises(ClosedEnvError):
        env.step(zeros(env))
    env.close()


def test_closing_lets_go_of_the_backend_also_when_something_fails():
    class Fails(VectorWrapper):
        def close(self, **kwargs):
            raise OSError("simulator")

    env = SuspendOnWait(Fails(CartPole(2)))
    control = env._control
    with pytest.raises(OSError, match="simulator"):
        env.close()
    assert control.closed


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"level": "perfect"}, "'skip', 'exact', 'approximate', got 'perfect'"),
        ({"level": "none"}, "must be one of"),
        ({"rng": "local"}, "'per_env', 'global', got 'local'"),
        ({"wait_timeout_s": 0}, "wait_timeout_s"),
        ({"wait_timeout_s": "1"}, "wait_timeout_s"),
        ({"wait_timeout_s": float("inf")}, "wait_timeout_s"),
    ],
)
def test_arguments_are_checked(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        SuspendOnWait(CartPole(2), **kwargs)


@pytest.mark.parametrize("level", ["skip", "exact"])
def test_skipping_natively_is_exact_too(level):
    assert suspendable(level=level).level == level


def test_a_level_is_never_exchanged_for_another():
    with pytest.raises(CapabilityError, match="'approximate'"):
        suspendable(level="approximate")


def test_capabilities_say_whose_random_numbers_rows_draw():
    env = CartPole(2)
    assert SuspendOnWait(env).capabilities == env.capabilities
    assert SuspendOnWait(CartPole(2), rng="per_env").capabilities.rng == "per_env"


def test_one_at_a_time():
    inner = CartPole(2)
    env = SuspendOnWait(inner)
    with pytest.raises(WrapperOrderError):
        SuspendOnWait(env)
    with pytest.raises(CapabilityError, match="already"):
        SuspendOnWait(inner)
    del env
    SuspendOnWait(inner)


class ScalesReward(VectorWrapper):
    def step(self, actions):
        obs, reward, *rest = super().step(actions)
        return obs, reward * 2, *rest


class KnowsMasks(ScalesReward):
    def step_masked(self, actions, active_mask):
        obs, reward, *rest = self.env.step_masked(actions, active_mask)
        return obs, reward * 2, *rest


class ForgetsMasks(KnowsMasks):
    def step(self, actions):
        return super().step(actions * 2)


@pytest.mark.parametrize("wrapper", [ScalesReward, ForgetsMasks])
def test_a_wrapper_that_would_be_bypassed_is_refused(wrapper):
    inner = CartPole(2)
    with pytest.raises(WrapperOrderError, match=rf"{wrapper.__name__}\(SuspendOnWait\(env\)\)"):
        SuspendOnWait(VectorWrapper(wrapper(inner)))
    SuspendOnWait(inner)  # the refused one holds nothing


def test_a_wrapper_that_knows_masks_is_stepped_through():
    env = SuspendOnWait(VectorWrapper(KnowsMasks(CartPole(2))))
    env.reset()
    env.suspend(0)
    assert env.step(zeros(env))[1].tolist() == [0, 2]
    outside = ScalesReward(SuspendOnWait(CartPole(2)))
    outside.reset()
    assert outside.step(zeros(env))[1].tolist() == [2, 2]


def test_some_rows_of_those_that_are_not_suspended():
    env = suspendable()
    env.suspend(1)
    mask = torch.tensor([True, True, False, False])
    info = env.step_masked(zeros(env), mask)[4]
    assert info["active"].tolist() == [True, False, False, False]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_gymnasium_envs_have_no_snapshots(kind):
    env = make("gymnasium:Pendulum-v1", num_envs=2, device="cpu", vectorization_mode=kind)
    env = SuspendOnWait(env)
    env.reset(seed=0)
    for call in (env.snapshot, lambda: env.fork(0, 1)):
        with pytest.raises(CapabilityError, match="snapshot"):
            call()
    env.close()
