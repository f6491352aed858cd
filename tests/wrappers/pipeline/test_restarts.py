"""What a source that is started anew is told, and whose failure is whose."""

import threading
import time

import pytest

from holdstep.wrappers.pipeline import ExecutionState, SourceEvents
from tests.wrappers.pipeline.test_failures import FailsAt
from tests.wrappers.pipeline.test_pipelined_actions import stack
from tests.wrappers.pipeline.tools import Told, eventually, nothing_left_running

PAUSED, RUNNING = ExecutionState.PAUSED, ExecutionState.RUNNING


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


def test_a_failure_of_the_source_that_is_being_stopped_is_not_the_new_ones():
    fail, begun = threading.Event(), threading.Event()

    def answer(request):
        if request.frame_id == 1 and not fail.is_set():
            begun.set()
            fail.wait(20)
            raise TimeoutError("the old connection")
        return {}

    source = Told(answer)
    env = stack(source)
    env.reset()
    env.step()
    env.step()
    assert begun.wait(20)
    env.restart_sources(0)
    fail.set()
    eventually(lambda: source.calls == ["start", "stop", "start"])
    for _ in range(5):
        env.step()
        time.sleep(0.005)
    env.close()
    assert source.calls == ["start", "stop", "start", "stop"]


def test_a_restart_counts_once_however_long_it_takes():
    class SlowToStop(FailsAt):
        def stop(self):
            time.sleep(0.05)
            super().stop()

    source = SlowToStop(1)
    env = stack(source, on_error="restart", max_restarts=1)
    env.reset()
    for _ in range(40):
        env.step()
        time.sleep(0.003)
    env.close()
    assert source.calls == ["start", "stop", "start", "stop"]


@pytest.mark.parametrize("mode", ["sync", "pipelined"])
def test_a_source_that_is_started_anew_is_told_again_that_the_host_has_paused(mode):
    source = FailsAt(2)
    env = stack(source, mode=mode, on_error="restart")
    env.reset()
    env.tell(SourceEvents(state=PAUSED))
    for step in range(8):
        env.step()
        eventually(lambda step=step: len(source.requests) > step)
        time.sleep(0.01)
    env.close()
    edges = [request.host_events.edges for request in source.requests]
    assert edges[0] == (PAUSED,)
    assert edges[3] == (PAUSED,)  # the first after the restart
    assert [number for number, told in enumerate(edges) if told] == [0, 3]


def test_what_the_host_says_meanwhile_counts_more():
    source = FailsAt(1)
    env = stack(source, mode="sync", on_error="suspend", suspends=True)
    env.reset()
    env.tell(SourceEvents(state=PAUSED))
    env.step()
    env.tell(SourceEvents(state=RUNNING))
    env.step()  # fails in this frame
    env.restart_sources()
    env.step()
    env.close()
    told = [request.host_events.edges for request in source.requests]
    assert told[:3] == [(PAUSED,), (RUNNING,), (RUNNING,)]
    assert not any(told[3:])
