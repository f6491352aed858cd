"""Each rung is timed and reported, above all the one that fails; differences are what they say."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from holdstep.errors import ExportError, HoldstepError, ParityError, PurityError
from holdstep.wrappers.export.report import ExportReport
from holdstep.wrappers.export.validation.differences import difference
from holdstep.wrappers.export.validation.ladder import Ladder


class FakeClock:
    """Time passes when it is told to."""

    def __init__(self):
        self.time_s = 100.0

    def __call__(self):
        return self.time_s


def new_report():
    return ExportReport(out_dir=Path("out"), backend="torch", method="jit-trace")


def test_rungs_are_timed_and_reported_in_order():
    report, clock, begun = new_report(), FakeClock(), []
    ladder = Ladder(report, on_rung=begun.append, clock=clock)
    with ladder.rung("discover") as rung:
        clock.time_s += 2.0
        rung.detail = "3 inputs"
    with ladder.rung("parity") as rung:
        clock.time_s += 0.5
        rung.value, rung.limit = 1e-7, 1e-5
    assert begun == ["discover", "parity"]
    assert [(rung.name, rung.status, rung.seconds) for rung in report.rungs] == [
        ("discover", "passed", 2.0),
        ("parity", "passed", 0.5),
    ]
    assert report.passed
    ladder.skip("wiring", "not asked for")
    assert not report.passed
    assert [rung.as_check().status for rung in report.rungs][-1] == "skipped"


def test_the_rung_that_fails_is_reported_and_its_error_has_the_report():
    report = new_report()
    ladder = Ladder(report)
    with pytest.raises(PurityError) as caught, ladder.rung("purity"):
        raise PurityError("'actor/x' reads something else.", term="actor/x")
    assert caught.value.report is report
    assert (caught.value.rung, caught.value.term) == ("purity", "actor/x")
    assert [(rung.status, rung.detail) for rung in report.rungs] == [
        ("failed", "'actor/x' reads something else.")
    ]
    with pytest.raises(KeyboardInterrupt), ladder.rung("trace"):
        raise KeyboardInterrupt
    assert report.rungs[-1].status == "failed"
    assert not report.passed


def test_errors_say_on_which_rung_they_are():
    assert issubclass(ParityError, ExportError)
    assert issubclass(ExportError, HoldstepError)
    assert ParityError("x").rung == "parity"


def test_the_table_shows_what_was_measured():
    report = new_report()
    with Ladder(report).rung("parity") as rung:
        rung.value, rung.limit, rung.detail = 3.25e-7, 1e-5, "[worst] action"
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    assert "3.25e-07" in text
    assert "[worst] action" in text
    assert "parity: passed" in str(report)


def test_differences():
    nan, inf = math.nan, math.inf
    same = torch.tensor([nan, inf, -inf, 0.0])
    assert difference(same, same.clone()).scaled == 0
    for got, expected in (
        (torch.tensor([nan]), torch.tensor([1.0])),
        (torch.tensor([1.0]), torch.tensor([nan])),
        (torch.tensor([inf]), torch.tensor([-inf])),
        (torch.tensor([inf]), torch.tensor([3.0])),
        (torch.zeros(2, 1), torch.zeros(1, 2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2), torch.zeros(3)),
    ):
        assert difference(got, expected).scaled == inf
    assert difference(torch.tensor([[True, False]]), torch.tensor([[True, True]])).index == (0, 1)
    big = difference(torch.tensor([1000.5, 0.1]), torch.tensor([1000.0, 0.0]))
    assert big.absolute == 0.5
    assert big.scaled == pytest.approx(0.1)
    assert big.index == (1,)
    assert difference(torch.zeros(0), torch.zeros(0)).index is None


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9),
    st.integers(0, 8),
    st.floats(1e-3, 1e3),
)
def test_one_changed_entry_is_found(values, at, change):
    expected = torch.tensor(values, dtype=torch.float64)
    got = expected.clone()
    at %= len(values)
    got[at] += change
    found = difference(got, expected)
    assert found.index == (at,)
    assert found.absolute == pytest.approx(change, rel=1e-3)
    assert found.scaled == pytest.approx(change / max(1.0, abs(values[at])), rel=1e-3)
