"""Sources that fail, hang, or return what can't be used; and what is left of them afterwards."""

import gc
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.errors import InvalidActionError, SourceError, UncopyableValueError
from holdstep.wrappers import PipelinedActions
from holdstep.wrappers.pipeline import FunctionSource, SourceEvents, SourceResult
from tests.wrappers.pipeline.test_pipelined_actions import frames, seen, stack
from tests.wrappers.pipeline.tools import Gate, Told, eventually, nothing_left_running

MODES = ["sync", "pipelined"]


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


class FailsAt(Told):
    """Raises in some computations, by their number; frames may be left out."""

    def __init__(self, *numbers):
        super().__init__()
        self.fails = set(numbers)

    def compute(self, request):
        result = super().compute(request)
        if len(self.requests) - 1 in self.fails:
            raise ValueError(f"no device in frame {request.frame_id}")
        return result


def working_threads():
    return [thread for thread in threading.enumerate() if "holdstep source" in thread.name]


def step_until_failure(env):
    for step in range(2000):
        try:
            env.step()
        except SourceError as error:
            return step, error
        time.sleep(0.01)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("mode", MODES)
def test_a_failure_is_raised_by_the_next_step_and_by_all_later_ones(mode):
    source = FailsAt(2)
    env = stack([source, Told()], num_envs=3, groups=[[2, 0], [1]], mode=mode)
    env.reset()
    step, error = step_until_failure(env)
    num_stepped = len(seen(env).actions)
    assert step == num_stepped  # the env was not stepped
    assert isinstance(error.__cause__, ValueError)
    assert error.env_ids == (2, 0)
    failed = source.requests[2].frame_id
    assert error.frame_id == failed
    assert "[2, 0]" in str(error)
    assert f"failed in frame {failed} (ValueError: no device in frame {failed})" in str(error)
    with pytest.raises(SourceError):
        env.step()
    assert len(seen(env).actions) == num_stepped
    env.restart_sources()
    env.step()
    assert len(seen(env).actions) == num_stepped + 1
    eventually(lambda: source.calls == ["start", "stop", "start"])
    env.close()
    assert source.calls[-1] == "stop"


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_source_may_suspend_its_rows(mode):
    source = FailsAt(1)
    env = stack([source, Told()], suspends=True, on_error="suspend", mode=mode)
    env.reset()
    env.step()
    eventually(lambda: not env.step()[4]["active"][0])
    for _ in range(3):
        info = env.step()[4]
        assert info["active"].tolist() == [False, True]
        assert isinstance(info["pipeline"]["worker_exception"][0], ValueError)
        assert info["pipeline"]["worker_exception"][1] is None
    env.restart_sources()
    eventually(lambda: bool(env.step()[4]["active"].all()))
    assert env.step()[4]["pipeline"]["worker_exception"][0] is None
    env.close()


def test_if_all_sources_have_failed_steps_return_without_one():
    env = stack(FailsAt(0), suspends=True, on_error="suspend")
    env.reset()
    info = env.step()[4]
    assert not info["active"].any()
    assert isinstance(info["pipeline"]["worker_exception"][0], ValueError)
    env.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_source_may_be_restarted_and_loses_no_event(mode):
    source = FailsAt(0, 2, 3)
    env = stack(source, on_error="restart", max_restarts=3, mode=mode)
    env.reset()
    exceptions = []
    env.tell(SourceEvents(reset=True))
    host_resets = []

    def has_gone_on():
        info = env.step()[4]
        exceptions.append(info["pipeline"]["worker_exception"][0])
        host_resets.append(frames(info)["host_reset"][0])
        return len(source.requests) > 6

    eventually(has_gone_on)
    env.close()
    assert 2 <= sum(error is not None for error in exceptions) <= 3
    assert source.calls == ["start", "stop"] * 4
    # Told with the frame that failed, and again with the one that did not; reported once.
    told = [request for request in source.requests if request.host_events.reset]
    assert len(told) == 2
    assert sum(host_resets) == 1


@pytest.mark.parametrize("mode", MODES)
def test_restarts_are_counted(mode):
    source = FailsAt(*range(1, 100))
    env = stack(source, on_error="restart", max_restarts=2, mode=mode)
    env.reset()
    _, error = step_until_failure(env)
    assert "restarted 2 times" in str(error)
    assert source.calls == ["start", "stop"] * 2 + ["start"]
    env.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_source_that_cannot_be_started(mode):
    class NoDevice(Told):
        def start(self, env_ids):
            super().start(env_ids)
            raise OSError("no runtime")

    source = NoDevice()
    env = stack(source, mode=mode)
    env.reset()
    with pytest.raises(SourceError, match=r"before it gave a frame.*no runtime"):
        env.step()
    env.close()
    assert source.calls == ["start", "stop"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (torch.zeros(2, 3), r"shape \(2, 1\).*got \(2, 3\)"),
        (np.zeros((3, 1), dtype=np.float32), r"shape \(2, 1\).*got \(3, 1\)"),
        (torch.zeros(2, 1, dtype=torch.float64), "float32, got torch.float64"),
        (np.zeros((2, 1)), "float32, got torch.float64"),
        (torch.tensor([[0.0], [torch.nan]]), r"rows \[1\] hold NaN"),
        (torch.tensor([torch.inf]), "NaN or infinity"),
        ([[0.0], [0.0]], "got list"),
    ],
)
def test_actions_that_cannot_be_applied_are_named(mode, actions, message):
    env = stack(FunctionSource(lambda: actions, uses_obs=False), mode=mode)
    env.reset()
    with pytest.raises(SourceError, match=message) as caught:
        env.step()
    assert isinstance(caught.value.__cause__, InvalidActionError)
    assert not seen(env).actions
    env.close()


def test_an_answer_that_is_none_is_named():
    class Plain(Told):
        def compute(self, request):
            return torch.zeros(2, 1)

    env = stack(Plain())
    env.reset()
    with pytest.raises(SourceError, match="must return a SourceResult, got Tensor"):
        env.step()
    env.close()


def test_a_context_that_cannot_be_copied_is_named():
    class Handle:
        pass

    source = Told(lambda request: {"context": {"devices": [1, Handle()]}})
    env = stack(source)
    env.reset()
    with pytest.raises(SourceError, match=r"result\.context\['devices'\]\[1\] is a .*Handle"):
        env.step()
    env.close()


def test_inputs_that_cannot_be_copied_are_named_before_anything_is_asked():
    source = Told()
    env = stack(source, external_inputs={"robot": {"lock": threading.Lock()}})
    env.reset()
    with pytest.raises(UncopyableValueError, match="can't be copied") as caught:
        env.step()
    assert caught.value.path == "external_inputs['robot']['lock']"
    assert not source.requests
    env.close()
    env = stack(source, external_inputs=lambda ids: 3)
    env.reset()
    with pytest.raises(Exception, match=r"external_inputs\(env_ids\) must return a mapping"):
        env.step()
    env.close()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_whatever_a_source_raises_does_not_end_its_thread_unnoticed(raised):
    def answer(request):
        raise raised

    env = stack(Told(answer))
    env.reset()
    with pytest.raises(SourceError, match=raised.__name__):
        env.step()
    env.close()


def test_an_interrupt_in_a_synchronous_source_is_the_callers_and_the_frame_is_asked_for_again():
    interrupts = [KeyboardInterrupt()]

    def answer(request):
        if request.frame_id == 1 and interrupts:
            raise interrupts.pop()
        return {}

    source = Told(answer)
    env = stack(source, mode="sync")
    env.reset()
    env.step()
    env.tell(SourceEvents(reset=True))
    with pytest.raises(KeyboardInterrupt):
        env.step()
    env.step()
    env.close()
    assert [request.host_events.reset for request in source.requests] == [False, True, True]


def test_a_hung_source_does_not_keep_close_waiting():
    gate = Gate()
    env = stack({"arm": Told(lambda r: gate(r) if r.frame_id else {})}, stop_timeout_s=0.3)
    env.reset()
    env.step()
    env.step()
    gate.entered.acquire(timeout=20)
    begin_s = time.monotonic()
    with pytest.warns(RuntimeWarning, match=r"'arm'.*rows \[0, 1\] did not stop within 0.3 s"):
        env.close()
    assert 0.25 < time.monotonic() - begin_s < 1.5
    gate.open(5)
    eventually(lambda: not working_threads())


def test_all_hung_sources_share_the_time():
    gates = [Gate() for _ in range(4)]
    sources = [Told(lambda r, gate=gate: gate(r) if r.frame_id else {}) for gate in gates]
    env = stack(sources, num_envs=4, stop_timeout_s=0.3)
    env.reset()
    env.step()
    env.step()
    for gate in gates:
        gate.entered.acquire(timeout=20)
    begin_s = time.monotonic()
    with pytest.warns(RuntimeWarning, match="did not stop"):
        env.close()
    assert time.monotonic() - begin_s < 1.5
    for gate in gates:
        gate.open(5)
    eventually(lambda: not working_threads())


def test_a_hung_source_is_asked_to_give_up():
    class Interruptible(Told):
        def __init__(self):
            super().__init__()
            self.wanted = threading.Event()
            self.hangs = threading.Event()

        def compute(self, request):
            if request.frame_id:
                self.hangs.set()
                self.wanted.wait(20)
            return super().compute(request)

        def interrupt(self):
            self.wanted.set()

    source = Interruptible()
    env = stack(source, stop_timeout_s=0.4)
    env.reset()
    env.step()
    env.step()
    source.hangs.wait(20)
    begin_s = time.monotonic()
    env.close()
    assert time.monotonic() - begin_s < 1.5
    assert source.calls == ["start", "stop"]


def test_a_source_that_cannot_be_stopped_is_told_and_closes_the_rest():
    class Stuck(Told):
        def stop(self):
            super().stop()
            raise OSError("busy")

    other = Told()
    env = stack([Stuck(), other])
    env.reset()
    env.step()
    with pytest.warns(RuntimeWarning, match="could not be stopped cleanly .*busy"):
        env.close()
    assert other.calls == ["start", "stop"]
    assert env.env.closed


def test_closing_before_the_first_reset_starts_nothing():
    source = Told()
    env = stack(source)
    env.close()
    assert source.calls == []


def test_one_that_is_thrown_away_stops_its_sources():
    source = Told()
    env = stack(source)
    env.reset()
    env.step()
    gone = weakref.ref(env)
    del env
    gc.collect()
    assert gone() is None
    eventually(lambda: source.calls == ["start", "stop"])


def test_a_script_that_does_not_close_ends_and_stops_its_sources():
    script = """
import torch
from holdstep.envs import make
from holdstep.wrappers import PipelinedActions
from holdstep.wrappers.pipeline import ActionSource, SourceResult
class Source(ActionSource):
    def compute(self, request):
        return SourceResult(actions=torch.zeros(1))
    def stop(self):
        print("stopped", flush=True)
env = PipelinedActions(make("holdstep:CartPole", num_envs=1, device="cpu"), Source())
env.reset()
env.step()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "stopped\n"
    assert not done.stderr


def test_results_may_be_of_inference_mode_and_of_graphs():
    weights = torch.ones(1, requires_grad=True)
    env = stack(FunctionSource(lambda obs: obs["policy"][:, :1] * weights))
    with torch.inference_mode():
        env.reset()
        env.step()
        time.sleep(0.02)
        env.step()
    env.step()
    assert not seen(env).actions[-1].requires_grad
    env.close()


def test_a_result_may_come_as_an_array_or_for_all_rows():
    values = [np.array([0.25], dtype=np.float32), np.full((2, 1), 0.25, dtype=np.float32)]
    for value in [*values, torch.tensor([0.25]), torch.full((2, 1), 0.25)]:
        env = PipelinedActions(
            make("holdstep:CartPole", num_envs=2, device="cpu"),
            Told(lambda request, value=value: SourceResult(actions=value)),
            mode="sync",
        )
        env.reset()
        env.step()
        env.close()
