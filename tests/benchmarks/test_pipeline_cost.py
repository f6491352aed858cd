"""The bound that driving an env by a source must keep, checked wherever the tests run."""

import time

import pytest
import torch

from tests.benchmarks import pipeline_step

pytestmark = pytest.mark.timing

LIMIT_US = 1000.0
"""After a pause, with cold caches, 300 to 490 are measured; in a tight loop, 110 to 150.
The aim is 200 in any case: this limit only watches for worse until that is reached."""


def computed_us(what):
    arguments = pipeline_step.Arguments(steps=60, period_ms=4.0)
    torch.set_num_threads(1)
    options = pipeline_step.kinds(arguments, 64)[what]
    # Of the thread that steps, since others may be computing beside it here.
    return pipeline_step.measure(what, options, 64, arguments)["computed_us"]


@pytest.mark.parametrize("what", ["a thread", "a thread, may suspend"])
def test_what_a_source_adds_to_a_step_does_not_grow(what):
    assert computed_us(what) < LIMIT_US


def test_a_slow_step_would_be_seen(monkeypatch):
    from holdstep.wrappers.pipeline.step_info import StepInfo

    of_step = StepInfo.of_step

    def slow(self, *arguments, **options):
        until = time.thread_time() + 1.5e-3
        while time.thread_time() < until:
            pass
        return of_step(self, *arguments, **options)

    monkeypatch.setattr(StepInfo, "of_step", slow)
    assert computed_us("a thread") > LIMIT_US
