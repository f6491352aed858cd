"""Answers that say what can't be are failures of their source, as others are."""

import threading

import pytest
import torch

from holdstep.errors import ConfigError, SourceError
from holdstep.wrappers.pipeline import SourceEvents
from holdstep.wrappers.pipeline.pacing import Immediate
from tests.wrappers.pipeline.test_pipelined_actions import frames, seen, stack
from tests.wrappers.pipeline.tools import Told, eventually, nothing_left_running

MODES = ["sync", "pipelined"]


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"events": None}, "result.events must be SourceEvents, got None"),
        ({"events": {"reset": True}}, "result.events must be SourceEvents"),
        ({"state": "RUNNING"}, "result.state must be an ExecutionState, got 'RUNNING'"),
        ({"input_time_s": "now"}, "result.input_time_s must be None or seconds, got 'now'"),
        ({"input_time_s": float("nan")}, "result.input_time_s must be None or seconds"),
        (
            {"events": SourceEvents(reset=True, reset_env_ids=(1, 2))},
            r"resets rows \[2\], which it does not drive; its rows are \[0, 1\]",
        ),
    ],
)
def test_an_answer_that_says_what_cannot_be_is_a_failure_of_its_source(mode, answer, message):
    source = Told(lambda request: answer)
    env = stack([source, Told()], groups=[[0, 1], [2]], num_envs=3, mode=mode)
    env.reset()
    with pytest.raises(SourceError, match=message) as caught:
        env.step()
    assert caught.value.env_ids == (0, 1)
    assert not seen(env).actions
    env.close()
    assert source.calls == ["start", "stop"]


def test_a_wrong_reset_loses_no_event_of_another_source():
    wrong = SourceEvents(reset=True, reset_env_ids=(1,))
    sources = [
        Told(lambda request: {"events": wrong} if request.frame_id == 0 else {}),
        Told(lambda request: {"events": SourceEvents(reset=request.frame_id == 0)}),
    ]
    env = stack(sources, mode="sync", on_error="restart", max_restarts=0)
    env.reset()
    with pytest.raises(SourceError, match="resets rows"):
        env.step()
    assert seen(env).reset_rows == [None]
    env.close()


@pytest.mark.parametrize("name", ["start_time_s", "finished"])
def test_a_pacing_that_raises_is_told_and_does_not_hang_the_step(name):
    class Broken(Immediate):
        def pacer(self):
            pacer = super().pacer()

            def fails(*args):
                raise ZeroDivisionError("no period yet")

            object.__setattr__(pacer, name, fails)
            return pacer

    source = Told()
    env = stack(source, pacing=Broken())
    env.reset()
    caught = []

    def step():
        try:
            env.step()
        except SourceError as error:
            caught.append(error)

    stepping = threading.Thread(target=step, daemon=True)
    stepping.start()
    stepping.join(10)
    assert not stepping.is_alive(), "the step hangs"
    assert "no period yet" in str(caught[0])
    env.close()
    assert source.calls == ["start", "stop"]


@pytest.mark.parametrize("mode", MODES)
def test_a_repeated_action_stays_as_it_was_given(mode):
    buffer = torch.full((2, 1), 0.5)

    def answer(request):
        buffer.fill_(0.5 if request.frame_id == 0 else 9.0)
        return {"actions": buffer if request.frame_id == 0 else None}

    env = stack(source := Told(answer), mode=mode)
    env.reset()
    for step in range(3):
        env.step()
        eventually(lambda step=step: len(source.requests) > step)
    env.close()
    assert [action.tolist() for action in seen(env).actions] == [[[0.5]] * 2] * 3


def test_the_width_that_a_source_names_is_compared_at_once():
    source = Told()
    source.action_dim = 2
    with pytest.raises(ConfigError, match=r"have 2 entries \(its action_dim\).*shape \(1,\)"):
        stack(source)
    for width in (1, None):
        source.action_dim = width
        stack(source).close()
    with pytest.raises(ConfigError, match=r"must have start\(env_ids\)"):
        stack(Told)  # the class itself


def test_a_reset_of_all_rows_beside_the_hosts_of_one_is_the_operators_in_the_others():
    source = Told(lambda request: {"events": SourceEvents(reset=request.frame_id == 1)})
    env = stack(source, num_envs=3, mode="sync")
    env.reset()
    env.step()
    env.reset(options={"env_ids": [1]})
    told = frames(env.step()[4])
    assert told["operator_reset"] == [True, False, True]
    assert told["host_reset"] == [False, True, False]
    assert seen(env).reset_rows == [None, [1], [0, 2]]
    env.close()
