"""The table and the plot of the pacing benchmark can be made from what it measures."""

import numpy as np
import pytest

from tests.benchmarks import report
from tests.benchmarks.teleop_loop import Measured
from tests.benchmarks.teleop_plot import STYLES, draw

LINE = {
    "benchmark": "pacing",
    "load": "constant 10 ms",
    "age_p50_ms": 12.5,
    "age_p50_spread": "12.0-13.0",
    "age_p95_ms": 14.0,
    "missed_percent": 0.5,
    "missed_spread": "0.0-1.0",
    "blocked_p50_ms": 0.1,
    "blocked_p95_ms": 0.2,
    "steps_per_s": 50.0,
    "runs": 5,
    "isaacteleop": "1.5",
}


def test_every_column_of_the_table_is_measured():
    page = report.render([{**LINE, "way": "holdstep, Adaptive"}])
    row = next(line for line in page.splitlines() if line.startswith("| constant 10 ms"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert all(cells[: len(report.PACING_COLUMNS)])
    assert {*LINE, "way"} - {"benchmark"} == set(report.PACING_COLUMNS)


def test_the_plot_has_a_panel_for_each_load(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    lines = [{**LINE, "load": load, "way": way} for load in ("first", "second") for way in STYLES]
    text = draw(lines, tmp_path / "images" / "pacing.svg").read_text()
    assert "first" in text
    assert "second" in text
    assert all(way in text for way in STYLES)
    again = draw(lines, tmp_path / "again.svg").read_text()
    assert again == text  # else each drawing would be a change to be committed


def test_a_miss_is_a_frame_of_an_earlier_step_than_the_last():
    measured = Measured(np.zeros(4), np.array([0, 1, 2, 5]), np.zeros(4))
    assert measured.num_missed == 2
