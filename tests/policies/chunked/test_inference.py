"""Where policies are called: in which thread, in which order, and what becomes of failures."""

import contextlib
import threading

import pytest
import torch

from holdstep.errors import PolicyError
from holdstep.policies import ChunkResult, ChunkSpec
from holdstep.policies.chunked.inference import InlineInference, infer_in_batches
from holdstep.policies.chunked.worker_inference import WorkerInference
from tests.policies.chunked.test_check_result import request_of

LONG_S = 20.0
"""Longer than anything here takes, so that a hang is a failure and not a hang."""


class Logbook:
    """A policy that writes down how it is called; acts as its ``script`` says."""

    def __init__(self, *, max_batch=None):
        self.spec = ChunkSpec(chunk_length=4, action_dim=2, max_batch=max_batch)
        self.calls = []
        self.threads = set()
        self.infer_hook = lambda request: None
        self.reset_hook = lambda env_ids: None

    def infer(self, request):
        self.calls.append(("infer", request.env_ids.tolist()))
        self.threads.add(threading.get_ident())
        self.infer_hook(request)
        actions = request.env_ids[:, None, None].float().expand(-1, 4, 2)
        return ChunkResult(actions=actions.clone(), valid_lengths=request.env_ids % 4 + 1)

    def reset(self, env_ids, episode_ids):
        self.calls.append(("reset", env_ids.tolist(), episode_ids.tolist()))
        self.threads.add(threading.get_ident())
        self.reset_hook(env_ids)


@pytest.fixture(params=["inline", "worker"])
def kind(request):
    return request.param


@contextlib.contextmanager
def running(kind, policy, **options):
    if kind == "inline":
        inference = InlineInference(policy, **options)
    else:
        inference = WorkerInference(policy, device=torch.device("cpu"), **options)
    try:
        yield inference
    finally:
        inference.close()


def collect(inference, count):
    finished = []
    while len(finished) < count:
        new = inference.wait(LONG_S)
        assert new, "nothing came"
        finished += new
    return finished


def begin(inference, *env_ids, episode=1):
    inference.begin_episodes(torch.tensor(env_ids), torch.full((len(env_ids),), episode))


@pytest.mark.parametrize(
    ("max_batch", "parts"),
    [
        (None, [[0, 1, 2, 3, 4]]),
        (5, [[0, 1, 2, 3, 4]]),
        (2, [[0, 1], [2, 3], [4]]),
        (9, [[0, 1, 2, 3, 4]]),
    ],
)
def test_large_requests_are_split_and_joined_in_order(max_batch, parts):
    policy = Logbook(max_batch=max_batch)
    result = infer_in_batches(policy, request_of(5))
    assert [rows for _, rows in policy.calls] == parts
    assert result.actions[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert result.valid_lengths.tolist() == [1, 2, 3, 4, 1]


def test_each_part_is_checked_for_itself():
    policy = Logbook(max_batch=2)

    def infer(request):
        wrong = 3 if request.env_ids[0] == 2 else 4
        return ChunkResult(actions=torch.zeros(len(request), wrong, 2))

    policy.infer = infer
    with pytest.raises(PolicyError, match=r"shape \(2, 3, 2\) for 2 rows"):
        infer_in_batches(policy, request_of(5))


def test_calls_come_in_order_from_one_thread(kind):
    policy = Logbook()
    with running(kind, policy) as inference:
        begin(inference, 0, 1, episode=0)
        inference.submit(7, request_of(2))
        begin(inference, 1, episode=1)
        inference.submit(8, request_of(1, first=1))
        inference.submit(9, request_of(1))
        finished = collect(inference, 3)
    assert policy.calls == [
        ("reset", [0, 1], [0, 0]),
        ("infer", [0, 1]),
        ("reset", [1], [1]),
        ("infer", [1]),
        ("infer", [0]),
    ]
    assert [request.ticket for request in finished] == [7, 8, 9]
    assert all(request.error is None for request in finished)
    assert len(policy.threads) == 1
    assert (threading.get_ident() in policy.threads) == (kind == "inline")


def test_times_are_in_order(kind):
    times = iter(range(100))
    with running(kind, Logbook(), clock=lambda: float(next(times))) as inference:
        inference.submit(0, request_of(1))
        (finished,) = collect(inference, 1)
    assert finished.submitted_s < finished.begin_s < finished.end_s


class Odd(BaseException):
    """What no ``except Exception`` catches."""


@pytest.mark.parametrize("error", [ValueError("broken"), PolicyError("no answer")])
def test_a_failure_is_the_requests_and_the_next_one_is_asked(kind, error):
    policy = Logbook()

    def fail(request):
        if request.env_ids[0] == 1:
            raise error

    policy.infer_hook = fail
    with running(kind, policy) as inference:
        for ticket in range(3):
            inference.submit(ticket, request_of(1, first=ticket))
        finished = collect(inference, 3)
    assert [request.error for request in finished] == [None, error, None]
    assert [request.result is None for request in finished] == [False, True, False]
    assert finished[1].request.env_ids.tolist() == [1]


def test_what_is_no_exception_reaches_the_caller_from_a_worker_and_the_worker_lives_on():
    policy = Logbook()
    policy.infer_hook = lambda request: (_ for _ in ()).throw(Odd("odd"))
    with running("worker", policy) as inference:
        inference.submit(0, request_of(1))
        (finished,) = collect(inference, 1)
        assert isinstance(finished.error, Odd)
        policy.infer_hook = lambda request: None
        inference.submit(1, request_of(1))
        assert collect(inference, 1)[0].error is None


def test_an_interrupt_of_inline_inference_is_the_callers():
    policy = Logbook()
    policy.infer_hook = lambda request: (_ for _ in ()).throw(KeyboardInterrupt())
    with running("inline", policy) as inference, pytest.raises(KeyboardInterrupt):
        inference.submit(0, request_of(1))


@pytest.mark.parametrize(
    ("kind", "error"), [("inline", ValueError), ("worker", ValueError), ("worker", Odd)]
)
def test_a_reset_that_fails_is_tried_again_before_the_next_inference(kind, error):
    """Inferring on without it would leave the policy in the old episode, in silence."""
    policy = Logbook()
    failures = iter([error("once"), error("twice"), None, None])

    def fail(env_ids):
        if (failure := next(failures)) is not None:
            raise failure

    policy.reset_hook = fail
    with running(kind, policy) as inference:
        begin(inference, 0)
        inference.submit(1, request_of(1))
        (finished,) = collect(inference, 1)
        assert isinstance(finished.error, error)
        assert "twice" in str(finished.error)
        begin(inference, 2)
        inference.submit(2, request_of(1))
        (finished,) = collect(inference, 1)
    assert finished.error is None
    resets = [call[1] for call in policy.calls if call[0] == "reset"]
    assert resets == [[0], [0], [0], [2]]  # and in order
    assert policy.calls[-1] == ("infer", [0])


def test_a_failing_reset_loses_no_result():
    """What was inferred before it would otherwise be waited for for ever."""
    policy = Logbook()
    policy.reset_hook = lambda env_ids: (_ for _ in ()).throw(Odd())
    with running("worker", policy) as inference:
        inference.submit(0, request_of(1))
        begin(inference, 0)
        inference.submit(1, request_of(1))
        finished = collect(inference, 2)
    assert [request.ticket for request in finished] == [0, 1]
    assert finished[0].error is None
    assert isinstance(finished[1].error, Odd)


def test_waiting_ends_with_the_time_and_the_result_can_be_had_later():
    policy, go_on = Logbook(), threading.Event()
    policy.infer_hook = lambda request: go_on.wait(LONG_S)
    with running("worker", policy) as inference:
        inference.submit(0, request_of(1))
        assert inference.finished() == []
        assert inference.wait(0.01) == []
        go_on.set()
        (finished,) = collect(inference, 1)
    assert finished.ticket == 0


def test_under_inference_mode_a_worker_does_as_the_caller_would(kind):
    """Modes are a thread's own: a network would fail there on what is no tensor for autograd."""
    policy = Logbook()
    layer = torch.nn.Linear(1, 8)
    policy.infer = lambda request: ChunkResult(actions=layer(request.obs["policy"]).view(-1, 4, 2))
    with running(kind, policy) as inference:
        with torch.inference_mode():
            request = request_of(2)
            inference.submit(0, request)
        (finished,) = collect(inference, 1)
    assert finished.error is None
    assert not finished.result.actions.requires_grad
