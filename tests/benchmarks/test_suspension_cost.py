"""The bounds that suspension must keep, checked wherever the tests run."""

import statistics
import time

import pytest

from tests.benchmarks import suspension
from tests.conftest import silenced

pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")

pytestmark = pytest.mark.timing

LIMIT_PERCENT = 3.0


def measured(**arguments):
    with silenced():
        return suspension.measure("Mjlab-Cartpole-Balance", 64, suspension.Arguments(**arguments))


def test_suspended_rows_add_at_most_three_per_cent_of_a_cartpole_step():
    lines = measured(blocks=9)
    assert [line["suspended_percent"] for line in lines] == [10, 50, 90]
    assert max(line["added_percent"] for line in lines) <= LIMIT_PERCENT


def test_a_slow_copy_would_be_seen(monkeypatch):
    from holdstep.envs.state.row_store import RowStore

    put_back = RowStore.put_back

    def slow(self):
        until = time.perf_counter() + 1.5e-3
        while time.perf_counter() < until:
            pass
        return put_back(self)

    monkeypatch.setattr(RowStore, "put_back", slow)
    (line,) = measured(blocks=5, percents=(50,))
    assert line["added_percent"] > LIMIT_PERCENT


def test_nothing_is_added_while_no_row_is_suspended():
    line = suspension.measure_idle("Mjlab-Cartpole-Balance", 64, suspension.Arguments(blocks=9))
    assert line["added_us"] < 50


def test_rows_that_are_skipped_save_physics(monkeypatch):
    """How much of a step that is, docs/benchmarks.md says; here the physics is timed by itself.

    In processor time, so that other programs on the machine don't count.
    """
    from mjlab.sim import Simulation

    from holdstep.envs.adapters.mjlab_compact import CompactPhysics

    spent: dict[type, list[float]] = {Simulation: [], CompactPhysics: []}

    def time_steps_of(physics):
        step = physics.step

        def timed(self):
            start = time.process_time()
            step(self)
            spent[physics].append(time.process_time() - start)

        monkeypatch.setattr(physics, "step", timed)

    for physics in spent:
        time_steps_of(physics)
    with silenced():
        suspension.measure(
            "Mjlab-Velocity-Flat-Unitree-Go1",
            64,
            suspension.Arguments(level="skip", percents=(75,), blocks=5, steps=2),
        )
    all_rows, a_quarter = (statistics.median(seconds) for seconds in spent.values())
    assert a_quarter < 0.8 * all_rows
