"""Attempts, pauses and deadlines, on a clock that nobody waits for."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdstep.errors import (
    ConfigError,
    HoldstepError,
    PolicyError,
    RemoteConnectionError,
    RemotePolicyError,
    RemoteRejectedError,
    RemoteTimeoutError,
)
from holdstep.policies.remote import CallLimits
from holdstep.policies.remote.attempts import (
    ConnectionFault,
    Endpoint,
    RejectedFault,
    RetryClock,
    TimeoutFault,
    attempt,
)

ENDPOINT = Endpoint(server="GR00T", host="gpu7", port=5555, name="get_action")


class FakeClock(RetryClock):
    def __init__(self):
        self.time = 100.0
        self.pauses = []

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.time += seconds


def ask(clock, once, **limits):
    return attempt(
        once,
        endpoint=ENDPOINT,
        env_ids=lambda: [3, 1],
        limits=CallLimits(**limits),
        clock=clock,
    )


def failing(clock, *, lasts_s, times, fault=ConnectionFault):
    left = []

    def once(left_s):
        left.append(left_s)
        clock.time += lasts_s
        if len(left) <= times:
            raise fault("went away", "Look.")
        return "answer"

    return once, left


def test_the_first_answer_counts_and_pauses_double():
    clock = FakeClock()
    once, left = failing(clock, lasts_s=1.0, times=3)
    assert ask(clock, once, max_attempts=4, backoff_s=0.5, deadline_s=30) == "answer"
    assert clock.pauses == [0.5, 1.0, 2.0]
    assert left == [30, 28.5, 26.5, 23.5]


def test_the_error_says_what_where_for_whom_and_how_often():
    clock = FakeClock()
    once, _ = failing(clock, lasts_s=1.0, times=9)
    with pytest.raises(RemoteConnectionError) as raised:
        ask(clock, once, max_attempts=2)
    assert str(raised.value) == (
        "The GR00T server at gpu7:5555 went away (get_action, env_ids [3, 1], attempt 2 of 2). "
        "Look."
    )
    assert vars(raised.value) | {"__notes__": None} == {
        "host": "gpu7",
        "port": 5555,
        "endpoint": "get_action",
        "env_ids": (3, 1),
        "attempt": 2,
        "max_attempts": 2,
        "__notes__": None,
    }
    assert raised.value.__notes__ == ["Attempt 1: it went away."]


def test_what_would_be_answered_the_same_way_is_not_asked_again():
    clock = FakeClock()
    once, left = failing(clock, lasts_s=0.0, times=9, fault=RejectedFault)
    with pytest.raises(RemoteRejectedError, match="attempt 1 of 3"):
        ask(clock, once)
    assert len(left) == 1
    assert not clock.pauses


@given(
    lasts_s=st.floats(0, 50),
    attempts=st.integers(1, 10),
    backoff_s=st.floats(0, 20),
    deadline_s=st.floats(0.1, 100),
)
def test_no_attempt_begins_after_the_deadline(lasts_s, attempts, backoff_s, deadline_s):
    clock = FakeClock()
    once, left = failing(clock, lasts_s=lasts_s, times=99, fault=TimeoutFault)
    with pytest.raises(RemoteTimeoutError):
        ask(clock, once, max_attempts=attempts, backoff_s=backoff_s, deadline_s=deadline_s)
    assert 1 <= len(left) <= attempts
    assert min(left) > 0
    assert clock.time - 100 <= deadline_s + lasts_s


@pytest.mark.parametrize(
    "limits",
    [
        {"timeout_s": 0},
        {"timeout_s": float("inf")},
        {"deadline_s": float("nan")},
        {"connect_timeout_s": "5"},
        {"backoff_s": -1},
        {"max_attempts": 0},
        {"max_attempts": True},
        {"max_message_bytes": 1.5},
    ],
    ids=str,
)
def test_limits_are_checked(limits):
    (name,) = limits
    with pytest.raises(ConfigError, match=rf"CallLimits\.{name} must be"):
        CallLimits(**limits)


def test_errors_are_what_they_should_be_caught_as():
    assert issubclass(RemotePolicyError, HoldstepError)
    assert issubclass(RemotePolicyError, PolicyError)
    assert issubclass(RemoteTimeoutError, TimeoutError)
    assert issubclass(RemoteConnectionError, ConnectionError)


@pytest.mark.parametrize("kind", [RemoteTimeoutError, RemoteConnectionError, RemoteRejectedError])
def test_errors_cross_processes(kind):
    error = kind("gone", host="a", port=1, endpoint="e", env_ids=[1, 2], attempt=2, max_attempts=3)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == "gone"
    assert vars(again) == vars(error)
