"""Threads of holdstep's compute on as many processors as ``torch.set_num_threads`` says."""

import contextlib
import ctypes
import os
import threading
from pathlib import Path

import pytest
import torch

from holdstep.envs import make
from holdstep.policies.chunked.protocol import ChunkResult, ChunkSpec
from holdstep.policies.chunked.worker_inference import WorkerInference
from holdstep.policies.remote import GrootPolicy, GrootServer, OpenPiPolicy, OpenPiServer
from holdstep.wrappers import PipelinedActions
from holdstep.wrappers.pipeline import FunctionSource
from tests.policies.remote.peers import STATE_GROOT, STATE_OPENPI, A, request_of

ANY = (os.cpu_count() or 1) + 1  # which no default is


def openmp():
    """The library that torch's matrix products ask."""
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    if not found:
        pytest.skip("this torch brings no libgomp to ask")
    return ctypes.CDLL(str(found[0]))


def in_a_thread(function):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(function()))
    thread.start()
    thread.join()
    return answers[0]


def state_of(num_rows):
    return request_of(num_rows, camera=False, instructions=False)


class Asking:
    """A policy that notes how many processors its products would use."""

    spec = ChunkSpec(chunk_length=2, action_dim=A)

    def __init__(self, library):
        self.library = library
        self.answers = []

    def ask(self):
        self.answers.append(self.library.omp_get_max_threads())

    def infer(self, request):
        self.ask()
        return ChunkResult(actions=torch.zeros(len(request), 2, A))

    def reset(self, env_ids, episode_ids):
        pass


@pytest.fixture
def asking():
    library, before = openmp(), torch.get_num_threads()
    torch.set_num_threads(ANY)
    try:
        # Without this, nothing would have to be done.
        assert in_a_thread(library.omp_get_max_threads) != ANY
        yield Asking(library)
    finally:
        torch.set_num_threads(before)


def test_inference_beside_the_simulation(asking):
    inference = WorkerInference(asking, device=torch.device("cpu"))
    inference.submit(0, state_of(1))
    inference.wait(10)
    inference.close()
    assert asking.answers == [ANY]


def test_sources_beside_the_simulation(asking):
    def actions():
        asking.ask()
        return torch.zeros(2, 1)

    env = make("holdstep:CartPole", num_envs=2, device="cpu", seed=0)
    env = PipelinedActions(env, FunctionSource(actions, uses_obs=False))
    env.reset()
    env.step()
    env.close()
    assert set(asking.answers) == {ANY}


@pytest.mark.parametrize(
    ("server", "client", "mapping"),
    [(GrootServer, GrootPolicy, STATE_GROOT), (OpenPiServer, OpenPiPolicy, STATE_OPENPI)],
)
def test_served_policies(asking, server, client, mapping):
    with server(asking) as running:
        policy = client(port=running.port, mapping=mapping, chunk_length=2)
        with contextlib.closing(policy):
            policy.infer(state_of(1))
    assert set(asking.answers) == {ANY}
