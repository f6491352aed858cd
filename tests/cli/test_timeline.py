import json

import numpy as np
import pytest

from holdstep.cli import main
from holdstep.timeline import TimelineWriter

pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "run.jsonl"
    with TimelineWriter(path, num_envs=8, clock=lambda: 0.0) as writer:
        for tick in range(100):
            begin_s = 0.02 * tick
            writer.tick(np.arange(8) != tick // 10, begin_s=begin_s, end_s=begin_s + 0.015)
    return path


def lines_of(printed):
    return [line.strip("│ ") for line in printed.splitlines()]


def test_by_default_a_picture_a_page_and_the_numbers(trace, capsys):
    assert main(["timeline", str(trace)]) == 0
    assert trace.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert trace.with_suffix(".html").read_text().startswith("<!DOCTYPE html>")
    assert {p.suffix for p in trace.parent.iterdir()} == {".jsonl", ".png", ".html"}
    printed = capsys.readouterr().out
    numbers = dict(line.split("│") for line in lines_of(printed) if line.count("│") == 1)
    numbers = {name.strip(): value.strip() for name, value in numbers.items()}
    assert numbers["ticks"] == "100"
    assert numbers["useful env-steps"] == "720"
    assert numbers["suspended, of live row-ticks"] == "10.0%"
    assert f"{trace.with_suffix('.html')} (" in printed


def test_only_what_is_asked_for_is_written(trace, capsys):
    out = trace.parent / "out"
    names = {"--png": "a.png", "--html": "b.html", "--chrome": "c.json"}
    for option, name in names.items():
        assert main(["timeline", str(trace), option, str(out / name)]) == 0
    assert {p.name for p in out.iterdir()} == set(names.values())
    assert {p.suffix for p in trace.parent.iterdir()} == {".jsonl", ""}
    events = json.loads((out / "c.json").read_text())["traceEvents"]
    assert sum(event["name"] == "tick" for event in events) == 100


def test_a_part(trace, capsys):
    out = trace.parent / "c.json"
    part = ["--rows", "2:6:2", "--from", "0.5", "--to", "1.0", "--chrome", str(out)]
    assert main(["timeline", str(trace), *part]) == 0
    events = json.loads(out.read_text())["traceEvents"]
    ticks = [event["args"]["tick"] for event in events if event["name"] == "tick"]
    assert ticks == list(range(25, 51))
    assert {e["args"]["name"] for e in events if e["name"] == "thread_name" and e["pid"] == 3} == {
        "row 2",
        "row 4",
    }


def test_a_torn_trace_is_drawn_and_said_to_be_torn(trace, capsys):
    trace.write_bytes(trace.read_bytes()[:-20])
    assert main(["timeline", str(trace)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "note: Its last line, 101, is torn and was left out." in printed
    assert "note: It has no end" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "8:"], "The trace has rows 0 to 7; none of them is in 8:"),
        (["--rows", "3"], "--rows takes START:STOP or START:STOP:STEP, as in 0:32, got '3'"),
        (["--rows", "a:b"], "--rows takes START:STOP"),
        (["--rows", "1:2:3:4"], "--rows takes START:STOP"),
        (["--rows=-3:-1"], "--rows takes START:STOP"),
        (["--rows", "0:4:0"], "The step of --rows must be at least 1"),
        (["--from", "60"], "Nothing happened from 60 s to inf s; the trace goes from 0.000 s"),
    ],
)
def test_parts_that_there_are_not(trace, capsys, arguments, message):
    assert main(["timeline", str(trace), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert {p.suffix for p in trace.parent.iterdir()} == {".jsonl"}


def test_files_that_are_no_traces(tmp_path, capsys):
    other = tmp_path / "other.txt"
    other.write_text("hello\n")
    assert main(["timeline", str(other)]) == 2
    assert f"error: {other} is no trace of holdstep" in capsys.readouterr().err
    assert main(["timeline", str(tmp_path / "missing.jsonl")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["timeline", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err


def test_without_matplotlib_there_is_still_the_page(trace, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["timeline", str(trace)]) == 0
    assert 'pip install "holdstep[plot]"' in " ".join(capsys.readouterr().out.split())
    assert trace.with_suffix(".html").exists()
    assert main(["timeline", str(trace), "--png", str(trace.with_suffix(".png"))]) == 2
    assert "holdstep[plot]" in capsys.readouterr().err
