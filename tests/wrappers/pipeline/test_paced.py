"""The worker and the step do what the pacing says; how good that is, is tested elsewhere."""

import threading
import time

import pytest
import torch

from holdstep.wrappers.pipeline import Adaptive, Deadline, Immediate
from tests.wrappers.pipeline.test_pipelined_actions import frames, stack
from tests.wrappers.pipeline.tools import Gate, Told, nothing_left_running


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


class Dictated:
    """A pacing, and its pacer, that says what it was told to, and remembers what it was told."""

    def __init__(self, *, delay_s=0.0, wait_s=0.0):
        self.delay_s = delay_s
        self.longest_s = wait_s
        self.calls = []

    def pacer(self):
        return self

    def submitted(self, now_s):
        self.calls.append(("submitted", now_s))

    def finished(self, begin_s, end_s):
        self.calls.append(("finished", begin_s, end_s))

    def polled(self, now_s, age_frames):
        self.calls.append(("polled", now_s, age_frames))

    def start_time_s(self, submitted_s):
        self.calls.append(("start", submitted_s))
        return submitted_s + self.delay_s

    def wait_s(self, now_s):
        self.calls.append(("wait", now_s))
        return self.longest_s

    def of(self, kind):
        return [call for call in self.calls if call[0] == kind]


def begins(source, pacing):
    return [call[1] for call in pacing.of("finished")]


def test_work_begins_when_the_pacing_says():
    pacing = Dictated(delay_s=0.03)
    source = Told()
    env = stack(source, pacing=pacing)
    env.reset()
    for _ in range(4):
        env.step()
        time.sleep(0.08)
    env.close()
    submitted = [call[1] for call in pacing.of("submitted")]
    assert len(submitted) == len(begins(source, pacing)) == 4
    for asked_s, begun_s in zip(submitted, begins(source, pacing), strict=True):
        assert begun_s - asked_s >= 0.03
    assert [call[1] for call in pacing.of("start")] == submitted
    assert [call[2] for call in pacing.of("polled")] == [0, 1, 1, 1]
    assert not pacing.of("wait")  # nothing was late


def test_requests_that_come_quicker_than_expected_do_not_put_work_off_for_ever():
    pacing = Dictated(delay_s=0.1)
    source = Told()
    env = stack(source, pacing=pacing)
    env.reset()
    env.step()
    begin_s = time.monotonic()
    while time.monotonic() < begin_s + 0.5:  # each replaces the one before, which is held back
        env.step()
        time.sleep(0.01)
    env.close()
    assert len(source.requests) >= 3


def test_a_step_waits_for_a_frame_that_is_about_to_be_there():
    gate = Gate()
    source = Told(lambda request: gate(request) if request.frame_id else {})
    pacing = Dictated(wait_s=10.0)
    env = stack(source, pacing=pacing, max_age_frames=5)
    env.reset()
    env.step()
    env.step()
    gate.entered.acquire(timeout=20)
    assert not pacing.of("wait")
    threading.Timer(0.05, gate.open).start()
    info = env.step()[4]
    assert frames(info)["returned_frame_id"] == [1, 1]
    assert len(pacing.of("wait")) == 1
    gate.open(10)
    env.close()


def test_and_no_longer_than_the_pacing_says():
    gate = Gate()
    source = Told(lambda request: gate(request) if request.frame_id else {})
    env = stack(source, pacing=Dictated(wait_s=0.05), max_age_frames=5)
    env.reset()
    env.step()
    env.step()
    gate.entered.acquire(timeout=20)
    begin_s = time.monotonic()
    info = env.step()[4]
    assert 0.04 < time.monotonic() - begin_s < 5
    assert frames(info)["returned_frame_id"] == [0, 0]
    gate.open(10)
    env.close()


@pytest.mark.parametrize("pacing", [Immediate(), Deadline(), Adaptive()])
def test_real_pacings_drive_real_threads(pacing):
    source = Told(lambda request: time.sleep(0.002) or {})
    env = stack([source, Told()], pacing=pacing)
    env.reset()
    for _ in range(25):
        info = env.step()[4]
        time.sleep(0.008)
    assert (info["pipeline"]["returned_frame_id"] >= 15).all()
    assert torch.all(info["pipeline"]["input_age_s"] < 5)
    env.close()
