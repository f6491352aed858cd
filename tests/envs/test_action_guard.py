import math
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch

from holdstep.envs import action_guard
from holdstep.envs.action_guard import ActionGuard
from holdstep.errors import InvalidActionError

CPU = torch.device("cpu")
BOX = gymnasium.spaces.Box(-1, 1, (4, 2), np.float32)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([[0.0, 0.0]] * 4, "must be a torch.Tensor.*list.*as_tensor"),
        (torch.zeros(4), r"shape \(4, 2\).*got \(4,\)"),
        (torch.zeros(3, 2), r"got \(3, 2\)"),
        (torch.zeros(4, 2, dtype=torch.float64), r"float32, got torch.float64.*\.float\(\)"),
        (torch.zeros(4, 2, dtype=torch.int64), "float32, got torch.int64"),
        (torch.zeros(4, 2, device="meta"), "must be on cpu, got meta"),
        (
            torch.tensor([[0, 0], [0, np.nan], [np.inf, 0], [0, 0]]).float(),
            r"rows \[1, 2\] hold NaN",
        ),
        (torch.tensor([[0, 0], [np.inf, 0], [0, -np.inf], [0, 0]]).float(), r"rows \[1, 2\] hold"),
        (np.full((4, 2), None), "array of numbers, got dtype object"),
        (torch.zeros(4, 2).to_sparse(), r"dense tensor.*to_dense\(\)"),
    ],
)
def test_bad_actions_are_refused_with_what_to_do(actions, message):
    with pytest.raises(InvalidActionError, match=message):
        ActionGuard(BOX, CPU).check(actions)


def test_good_actions_pass_whatever_their_size():
    guard = ActionGuard(BOX, CPU)
    guard.check(torch.full((4, 2), torch.finfo(torch.float32).max))
    guard.check(torch.zeros(4, 2))


def test_arrays_are_copied_to_tensors_and_checked():
    guard = ActionGuard(BOX, CPU)
    array = np.zeros((4, 2), np.float32)
    actions = guard.check(array)
    array += 1
    assert torch.equal(actions, torch.zeros(4, 2))
    with pytest.raises(InvalidActionError, match="float32, got torch"):
        guard.check(np.zeros((4, 2)))


def test_arrays_may_run_backwards():
    array = np.arange(8, dtype=np.float32).reshape(4, 2)
    actions = ActionGuard(BOX, CPU).check(array[::-1])
    np.testing.assert_array_equal(actions, array[::-1])


def test_one_number_per_row_and_no_number_at_all():
    guard = ActionGuard(gymnasium.spaces.Box(-1, 1, (3,), np.float32), CPU)
    guard.check(torch.zeros(3))
    with pytest.raises(InvalidActionError, match=r"rows \[2\] hold NaN"):
        guard.check(torch.tensor([0.0, 1.0, torch.nan]))
    nothing = torch.zeros(4, 0)
    guard = ActionGuard(gymnasium.spaces.Box(-1, 1, (4, 0), np.float32), CPU)
    assert guard.check(nothing) is nothing


@pytest.mark.parametrize(
    ("space", "good", "bad", "message"),
    [
        (gymnasium.spaces.MultiDiscrete([2, 3]), [1, 2], [1, 3], r"rows \[1\].*3.*\[0, 2\]"),
        (
            gymnasium.spaces.MultiDiscrete([2, 2], start=[-1, -1]),
            [-1, 0],
            [1, 5],
            r"rows \[0, 1\].*first, 1, must be in \[-1, 0\]",
        ),
        (gymnasium.spaces.MultiBinary(2), [0, 1], [0, 2], r"2, must be in \[0, 1\]"),
        (
            gymnasium.spaces.Box(0, 255, (1, 2), np.uint8),
            [[0, 255]],
            [[0, 256]],
            r"rows \[0\].*256, must be in \[0, 255\]",
        ),
    ],
)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint16])
def test_integers_out_of_range_are_refused(space, good, bad, message, dtype):
    guard = ActionGuard(space, CPU)
    if dtype.is_signed or np.min(good) >= 0:
        guard.check(torch.tensor(good, dtype=dtype))
    with pytest.raises(InvalidActionError, match=message):
        guard.check(torch.tensor(bad, dtype=dtype))


def test_discrete_actions_are_integers():
    guard = ActionGuard(gymnasium.spaces.MultiDiscrete([2, 2, 2]), CPU)
    guard.check(torch.tensor([0, 1, 0]))
    guard.check(torch.tensor([0, 1, 0], dtype=torch.int32))
    with pytest.raises(InvalidActionError, match="discrete"):
        guard.check(torch.zeros(3))
    with pytest.raises(InvalidActionError, match="discrete"):
        guard.check(torch.zeros(3, dtype=torch.complex64))


def wait_for_error(guard, good):
    for _ in range(9):  # two copies
        try:
            guard.check(good)
        except InvalidActionError as error:
            return "recent step" in str(error)
        torch.cuda.synchronize()
    return False


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_nan_is_reported_late_and_without_a_sync():
    device = torch.device("cuda", 0)
    guard = ActionGuard(BOX, device)
    good = torch.zeros(4, 2, device=device)
    guard.check(good)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        guard.check(torch.full((4, 2), torch.nan, device=device))
        for _ in range(9):
            guard.check(good)
    except InvalidActionError:
        pass  # noticed already, which is as good
    else:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
        assert wait_for_error(guard, good)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    for _ in range(9):  # one report per incident
        guard.check(good)
        torch.cuda.synchronize()


def test_the_verdict_is_awaited_on_the_stream_that_copies_it(monkeypatch):
    """Not on that of the current device, which may be done long before."""
    device, streams = torch.device("cuda", 1), []
    event = SimpleNamespace(record=lambda stream=None: streams.append(stream), query=lambda: False)
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda of=None: ("stream of", of))
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, **_: zeros(*size))
    verdict = action_guard._DeferredVerdict(device)
    for _ in range(4):
        verdict.submit(zeros(4, 2))
    assert streams == [("stream of", device)]


@pytest.fixture
def arrivals(monkeypatch):
    """A verdict whose copies, made on the CPU, arrive when the test says so."""
    event = SimpleNamespace(record=lambda stream: None, query=lambda: event.arrived, arrived=True)
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda of=None: None)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, **_: zeros(*size))
    return event


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("late", [0, 1, 7])
def test_a_bad_step_is_reported_once_however_late_the_copies_arrive(arrivals, value, at, late):
    verdict = action_guard._DeferredVerdict(torch.device("cuda", 0))
    good, bad = torch.ones(4, 2), torch.ones(4, 2)
    bad[2, 1] = value
    reports = []
    for step in range(at + late + 20):
        arrivals.arrived = not at <= step < at + late
        try:
            verdict.submit(bad if step == at else good)
        except InvalidActionError as error:
            reports.append((step, str(error)))
    ((step, message),) = reports
    assert at < step <= at + late + 8
    assert "recent step" in message


def test_a_bad_step_is_reported_in_every_stretch_of_steps(arrivals):
    verdict = action_guard._DeferredVerdict(torch.device("cuda", 0))
    reports = 0
    for step in range(100):
        try:
            verdict.submit(torch.full((2, 2), math.nan if step % 25 == 3 else 0.5))
        except InvalidActionError:
            reports += 1
    assert reports == 4
