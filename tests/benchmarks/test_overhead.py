"""The bounds that benchmarks must keep, checked wherever the tests run."""

import time

import pytest

from tests.benchmarks import overhead, report
from tests.conftest import silenced

pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")

pytestmark = pytest.mark.timing

LIMIT_PERCENT = 2.0
WHOLE_STACK_PERCENT = 5.0
"""With a driver and a view around everything. The aim is 2, and with action chunks 1.4 to 1.9 are
measured; a pipeline adds more. The rest is room for machines on which other things run."""


def worst(lines):
    return max(line["overhead_percent"] for line in lines if line["benchmark"] == "step overhead")


def test_adapter_and_wrappers_add_at_most_two_per_cent_of_a_cartpole_step():
    arguments = overhead.Arguments(num_envs=64, blocks=5, steps=20)
    with silenced():
        lines = overhead.measure_task("Mjlab-Cartpole-Balance", arguments)
    driven = ("view", "pipelined")
    layers = [line for line in lines if not any(word in line.get("what", "") for word in driven)]
    assert sum("all idle" in line["what"] for line in layers) == 1
    assert worst(layers) <= LIMIT_PERCENT
    assert worst(lines) <= WHOLE_STACK_PERCENT
    assert any(line["benchmark"] == "final observations" for line in lines)


def test_a_slow_layer_would_be_seen(monkeypatch):
    from holdstep.envs.action_guard import ActionGuard

    check = ActionGuard.check

    def slow(self, actions):
        until = time.perf_counter() + 1e-3
        while time.perf_counter() < until:
            pass
        return check(self, actions)

    monkeypatch.setattr(ActionGuard, "check", slow)
    arguments = overhead.Arguments(num_envs=64, blocks=3, steps=10)
    with silenced():
        lines = overhead.measure_task("Mjlab-Cartpole-Balance", arguments)
    assert worst(lines) > LIMIT_PERCENT


def test_the_page_is_what_the_lines_say():
    page = report.DOCS / "benchmarks.md"
    assert page.read_text(encoding="utf-8") == report.render(report.lines_on_disk())
