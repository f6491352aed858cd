"""The bound that a deployed step must keep, checked wherever the tests run."""

import statistics
import time

import pytest

from tests.benchmarks import export_latency
from tests.conftest import silenced

pytestmark = pytest.mark.timing

G1 = "Mjlab-Velocity-Flat-Unitree-G1"
WHAT = "onnx-torchscript, deployed"


def ratios(**arguments):
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    with silenced():
        lines = export_latency.measure(
            G1,
            1,
            export_latency.Arguments(methods=("onnx-torchscript",), blocks=9, **arguments),
        )
    return {line["what"]: line["ratio"] for line in lines}


def test_a_deployed_step_costs_at_most_half_of_a_live_one():
    # What else a machine does makes either of them slower by a tenth.
    assert statistics.median(ratios()[WHAT] for _ in range(3)) <= 0.5


def test_a_slow_runner_would_be_seen(monkeypatch):
    from holdstep.wrappers.export.model_runner import ModelRunner

    step = ModelRunner.step

    def slow(self, inputs):
        until = time.process_time() + 3e-4
        while time.process_time() < until:
            pass
        return step(self, inputs)

    monkeypatch.setattr(ModelRunner, "step", slow)
    assert ratios(steps=10)[WHAT] > 0.5
