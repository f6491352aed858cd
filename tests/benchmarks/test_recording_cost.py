"""The bounds that recording must keep, checked wherever the tests run; loose, for busy machines."""

import time

import pytest
import torch

from holdstep.wrappers.record.packing import Packer
from tests.benchmarks import recording, recording_loop

pytestmark = pytest.mark.timing
ARGUMENTS = recording.Arguments(max_queue_mb=256, steps=60, episode_steps=60)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_appending_is_far_cheaper_than_lists_of_tensors():
    line = recording.measure_append(256, ARGUMENTS, camera=False)
    assert line["times_less"] > 40
    assert line["ratio_copy"] < 3


def test_images_cost_little_more_than_one_copy_of_them():
    line = recording.measure_append(64, ARGUMENTS, camera=True)
    assert line["ratio_copy"] < 1.8


def test_a_loop_is_slowed_by_a_small_part_of_a_simulated_step():
    """After a sleep, which is the worst; with a row that ends in nearly every step."""
    options = recording_loop.Arguments(blocks=4, max_queue_mb=256)
    line = recording_loop.measure(256, "sleeps", options, ends=True)
    # The aim is 1, for an env that computes. This is the median, since on a busy machine
    # a few steps have to wait for a processor.
    assert line["percent_of_step"] < 4


def test_a_loop_is_slowed_far_less_than_by_lists_of_tensors():
    lines = recording.measure_loop(256, ARGUMENTS, camera=False)
    added = {line["what"]: line for line in lines}
    assert added["holdstep"]["times_less"] > 10


def test_a_saturated_writer_does_not_hold_the_loop_back():
    assert recording.measure_saturated(ARGUMENTS, "process")["ratio_loop"] < 1.3


def test_a_slow_append_would_be_seen(monkeypatch):
    step = Packer.step

    def slow(self, *arguments):
        until = time.perf_counter() + 3e-4
        while time.perf_counter() < until:
            pass
        return step(self, *arguments)

    monkeypatch.setattr(Packer, "step", slow)
    line = recording.measure_append(256, ARGUMENTS, camera=False)
    assert line["times_less"] < 40
    assert line["ratio_copy"] > 3
