"""Each frame of a lossless source drives its rows, whatever comes between; and then it is over."""

import threading
import time

import pytest

from holdstep.errors import SourceError
from holdstep.wrappers import SuspendOnWait, find_wrapper
from holdstep.wrappers.pipeline import SourceEvents
from tests.wrappers.pipeline.test_failures import FailsAt
from tests.wrappers.pipeline.test_pipelined_actions import frames, seen, stack
from tests.wrappers.pipeline.tools import Told, nothing_left_running

MODES = ["sync", "pipelined"]


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


def replay(length=1000):
    source = Told(lambda request: {"end_of_replay": request.frame_id == length - 1})
    source.lossless = True
    return source


def applied_frames(env, row):
    """Frames that have driven a row, by their actions."""
    steps = zip(seen(env).actions, seen(env).active, strict=True)
    return [round(actions[row].item() * 1000) for actions, active in steps if active[row]]


@pytest.mark.parametrize("mode", MODES)
def test_frames_wait_while_somebody_else_holds_the_row(mode):
    env = stack([Told(), replay()], suspends=True, mode=mode)
    env.reset()
    env.step()
    suspender = find_wrapper(env, SuspendOnWait)
    suspender.suspend([1])
    for _ in range(3):
        env.step()
    suspender.resume([1])
    for _ in range(3):
        env.step()
    env.close()
    assert applied_frames(env, 1) == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", MODES)
def test_a_step_that_another_source_lets_fail_takes_no_frame(mode):
    env = stack([FailsAt(1, 2), replay()], mode=mode)
    env.reset()
    failures = 0
    for _ in range(12):
        try:
            env.step()
        except SourceError:
            failures += 1
            env.restart_sources()
        time.sleep(0.005)
    env.close()
    assert failures
    assert applied_frames(env, 1) == list(range(12 - failures))


def test_a_reset_of_the_host_asks_for_another_frame_though_one_was_not_applied():
    source = replay()
    env = stack([Told(), source], suspends=True, mode="sync")
    env.reset()
    find_wrapper(env, SuspendOnWait).suspend([1])
    env.step()
    env.step()
    assert len(source.requests) == 1
    env.reset(options={"env_ids": [1]})
    env.step()
    assert source.requests[1].host_events == SourceEvents(reset=True)
    env.close()


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_waiting_for_fresh_frames_ends_with_the_last_one(mode, lossless):
    source = replay(length=3)
    source.lossless = lossless
    env = stack(source, on_stale="wait", mode=mode)
    env.reset()
    ended = []

    def steps():
        ended.extend(frames(env.step()[4])["end_of_replay"][0] for _ in range(10))

    stepping = threading.Thread(target=steps, daemon=True)
    stepping.start()
    stepping.join(10)
    assert not stepping.is_alive(), "a step waits for what never comes"
    assert ended[-1]
    env.close()


@pytest.mark.parametrize("suspends", [False, True])
def test_a_last_frame_that_came_too_late_does_not_keep_steps_waiting(suspends):
    source = Told(lambda r: time.sleep(0.02) or {"end_of_replay": r.frame_id >= 2})
    on_stale = "suspend" if suspends else "wait"
    env = stack([source, Told()], suspends=suspends, on_stale=on_stale, max_age_frames=0)
    env.reset()

    def steps():
        for _ in range(30):
            env.step()
            time.sleep(0.002)

    stepping = threading.Thread(target=steps, daemon=True)
    stepping.start()
    stepping.join(10)
    assert not stepping.is_alive()
    env.close()


@pytest.mark.parametrize("mode", MODES)
def test_an_ended_replay_may_be_restarted(mode):
    source = replay(length=2)
    env = stack({"arm": source}, suspends=True, mode=mode)
    env.reset()
    for _ in range(3):
        env.step()
    assert len(source.requests) == 2
    env.restart_sources("arm")
    assert env.step()[4]["active"].all()
    assert source.calls[:3] == ["start", "stop", "start"]
    assert len(source.requests) == 3
    env.close()


def test_the_time_of_a_source_is_that_of_its_rows():
    source = Told()
    env = stack([Told(), source], suspends=True, mode="sync")
    env.reset()
    env.step()
    suspender = find_wrapper(env, SuspendOnWait)
    suspender.suspend([1])
    for _ in range(4):
        env.step()
    suspender.resume([1])
    env.step()
    env.step()
    env.close()
    steps = [round(request.sim_time_s / env.step_dt) for request in source.requests]
    assert steps == [0, 1, 1, 1, 1, 1, 2]
