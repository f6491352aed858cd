"""The bounds that chunks must keep, checked wherever the tests run."""

import time

import pytest

from tests.benchmarks import chunk_replay
from tests.conftest import silenced

pytestmark = pytest.mark.timing


def ratios(env_id, **arguments):
    with silenced():
        lines = chunk_replay.measure(env_id, 64, chunk_replay.Arguments(**arguments))
    return {line["what"]: line["ratio"] for line in lines}


def test_chunks_add_at_most_two_per_cent_of_a_simulated_tick():
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    measured = ratios("mjlab:Mjlab-Cartpole-Balance", blocks=3, chunk_length=6)
    assert measured["no row ends"] <= 1.02
    assert measured["a row ends in each tick"] <= 1.25


def test_even_without_a_simulator_a_tick_is_mostly_the_envs_own():
    measured = ratios("holdstep:CartPole", blocks=25)
    assert measured["no row ends"] < 1.8


def test_a_slow_replay_would_be_seen(monkeypatch):
    from holdstep.wrappers.chunk_step import ChunkStep

    add = ChunkStep.add

    def slow(self, result):
        until = time.perf_counter() + 2e-4
        while time.perf_counter() < until:
            pass
        return add(self, result)

    monkeypatch.setattr(ChunkStep, "add", slow)
    assert ratios("holdstep:CartPole", blocks=9)["no row ends"] > 1.8
