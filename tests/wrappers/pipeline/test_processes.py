"""Sources in processes: the same interface, killed processes, and nothing left over."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from holdstep.errors import ConfigError, SourceError
from holdstep.wrappers.pipeline import SourceRequest, host_pickle
from holdstep.wrappers.pipeline.process_source import ProcessSource
from tests.wrappers.pipeline.process_sources import Follower, Refused, no_device, not_a_source
from tests.wrappers.pipeline.test_pipelined_actions import frames, seen, stack
from tests.wrappers.pipeline.tools import eventually, nothing_left_running


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left_running():
        yield


class Inputs(dict):
    """External inputs that a test may change between steps."""

    def __call__(self, env_ids):
        return dict(self)


def process_stack(inputs=None, path=None, **options):
    factory = functools.partial(Follower, None if path is None else str(path))
    sources = {"arm": factory}
    return stack(
        sources, groups={"arm": [1, 0]}, worker="process", external_inputs=inputs, **options
    )


def fail(env):
    for _ in range(2000):
        try:
            env.step()
        except SourceError as error:
            return error
        time.sleep(0.02)
    raise AssertionError("nothing was raised")


def test_a_process_does_what_a_thread_does(tmp_path):
    inputs = Inputs(array=np.arange(3))
    env = process_stack(inputs, tmp_path / "log")
    obs, _ = env.reset()
    for step in range(4):
        before = obs["policy"].clone()
        obs, *_, info = env.step()
        told = frames(info)
        assert told["submitted_frame_id"] == [step] * 2
        context = env.last_context["arm"]
        assert context["pid"] != os.getpid()
        assert context["keys"] == ["policy"]
        assert context["ids"] == (1, 0)
        assert context["inputs"].tolist() == [0, 1, 2]
        if step == 0:
            torch.testing.assert_close(seen(env).actions[0], before[:, :1] * 0.5)
        time.sleep(0.02)
    assert told["input_age_s"][0] > 0
    env.reset()
    inputs["operator reset"] = True
    env.step()
    assert env.last_context["arm"]["host"].reset
    assert not env.operator_events  # an echo, as far as can be seen
    env.step()
    eventually(lambda: bool(frames(env.step()[4])["operator_reset"][0]))
    pid = context["pid"]
    env.close()
    assert (tmp_path / "log").read_text() == "stopped\n"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_process_is_noticed_at_once_and_can_be_started_anew():
    env = process_stack(on_error="raise")
    env.reset()
    env.step()
    pid = env.last_context["arm"]["pid"]
    os.kill(pid, signal.SIGKILL)
    error = fail(env)
    assert "was killed by SIGKILL" in str(error)
    assert f"pid {pid}" in str(error)
    assert error.env_ids == (1, 0)
    env.restart_sources()
    env.step()
    eventually(lambda: bool(env.step()) and env.last_context["arm"]["pid"] != pid)
    env.close()


def test_a_process_that_is_killed_while_it_hangs_is_replaced():
    inputs = Inputs()
    env = process_stack(inputs, on_error="restart", suspends=True, on_stale="suspend")
    env.reset()
    env.step()
    pid = env.last_context["arm"]["pid"]
    inputs["do"] = "hang"
    env.step()
    time.sleep(0.2)  # by now it hangs
    os.kill(pid, signal.SIGKILL)
    del inputs["do"]
    exceptions = []
    while env.last_context["arm"]["pid"] == pid:
        exceptions.append(env.step()[4]["pipeline"]["worker_exception"][0])
    exceptions = [error for error in exceptions if error is not None]
    assert len(exceptions) == 1
    assert "SIGKILL" in str(exceptions[0])
    env.close()


def test_errors_come_with_their_traceback_and_exits_with_their_code():
    def asked(do):
        return SourceRequest(
            frame_id=0,
            env_ids=(0,),
            obs={"policy": torch.ones(1, 2)},
            external_inputs={"do": do},
        )

    source = ProcessSource(Follower)
    source.start((0,))
    assert (source.uses_obs, source.obs_keys, source.lossless) == (True, ("policy",), False)
    with pytest.raises(ValueError, match="no tracking") as caught:
        source.compute(asked("raise"))
    assert "in compute" in caught.value.__notes__[0]
    with pytest.raises(
        SourceError, match="OddError: arm failed with 3"
    ):  # which can't be unpickled
        source.compute(asked("raise odd"))
    with pytest.raises(AttributeError, match="pickle"):
        source.compute(asked(lambda: 0))
    assert source.compute(asked("")).actions.tolist() == [[0.5]]
    with pytest.raises(SourceError, match="ended with exit code 3"):
        source.compute(asked("exit"))
    with pytest.raises(SourceError, match="ended with exit code 3"):
        source.compute(asked(""))
    source.stop()
    source.stop()


def test_a_hung_process_does_not_outlive_close():
    inputs = Inputs()
    env = process_stack(inputs, stop_timeout_s=0.8)
    env.reset()
    env.step()
    inputs["do"] = "hang"
    env.step()
    time.sleep(0.2)
    begin_s = time.monotonic()
    env.close()  # without a warning: it could be ended
    assert time.monotonic() - begin_s < 2
    assert not multiprocessing.active_children()


def test_a_factory_that_makes_no_source_is_named():
    env = stack(not_a_source, worker="process")
    env.reset()
    with pytest.raises(SourceError, match=r"must make a source.*got 3"):
        env.step()
    env.close()
    with pytest.raises(ConfigError, match="function without arguments"):
        stack(Follower(), worker="process")


_SCRIPT = """
import sys, time
from tests.wrappers.pipeline.process_sources import Follower
from holdstep.envs import make
from holdstep.wrappers import PipelinedActions
if __name__ == "__main__":
    inputs = {}
    env = make("holdstep:CartPole", num_envs=2, device="cpu")
    env = PipelinedActions(env, Follower, worker="process", external_inputs=lambda ids: inputs)
    env.reset()
    env.step()
    inputs["do"] = "hang"
    env.step()
    print(env.last_context[0]["pid"], flush=True)
    time.sleep(60)
"""


def test_a_process_ends_with_the_env_loop_even_if_it_hangs(tmp_path):
    (tmp_path / "script.py").write_text(_SCRIPT)
    loop = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
    )
    pid = int(loop.stdout.readline())
    loop.kill()
    loop.wait()
    loop.stdout.close()

    def has_ended():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with open(f"/proc/{pid}/stat") as file:  # a zombie, where nobody waits for orphans
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"

    eventually(has_ended)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3).t(),
        torch.zeros(0, 3),
        torch.tensor(3),
        torch.tensor([True, False]),
        torch.tensor([1.5], dtype=torch.bfloat16),
        torch.ones(2, requires_grad=True),
    ],
)
def test_tensors_arrive_as_they_were(tensor):
    arrived = host_pickle.loads(host_pickle.dumps({"a": [tensor]}))["a"][0]
    assert arrived.dtype == tensor.dtype
    assert torch.equal(arrived, tensor.detach())
    assert arrived.shape == tensor.shape
    if arrived.numel() and arrived.is_floating_point():
        arrived += 1  # it can be written to


@pytest.mark.parametrize(
    ("factory", "kind", "message"),
    [(Refused, ConnectionRefusedError, "port 5555"), (no_device, EOFError, "has sent nothing")],
)
def test_what_a_source_raises_at_its_start_is_told_whatever_it_is(factory, kind, message):
    env = stack(factory, worker="process")
    env.reset()
    with pytest.raises(SourceError, match=message) as caught:
        env.step()
    assert isinstance(caught.value.__cause__, kind)
    env.close()
