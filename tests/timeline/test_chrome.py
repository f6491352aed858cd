"""Schema of https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU."""

import collections
import gzip
import itertools
import json

import numpy as np
from hypothesis import HealthCheck, given, settings

from holdstep.timeline import (
    IntervalMaker,
    RowState,
    read_timeline,
    to_chrome_trace,
    write_chrome_trace,
)
from tests.timeline.runs import Run, all_active, rows_active, runs


def trace_of(run, tmp_path):
    run.write(tmp_path / "run.jsonl", metadata={"task": "t", "seed": 3})
    timeline = read_timeline(tmp_path / "run.jsonl")
    # Through JSON, and strictly, as a viewer gets it.
    text = json.dumps(to_chrome_trace(timeline), allow_nan=False)
    return timeline, json.loads(text)


def check_schema(trace):
    names = collections.defaultdict(set)
    for event in trace["traceEvents"]:
        assert event["ph"] in ("X", "M", "C", "i")
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        if event["ph"] == "M":
            names[event["name"]].add((event["pid"], event["tid"]))
            assert event["args"].keys() <= {"name", "sort_index"}
            continue
        assert isinstance(event["ts"], int)
        if event["ph"] == "X":
            assert isinstance(event["dur"], int)
            assert event["dur"] >= 0
        elif event["ph"] == "C":
            assert all(isinstance(value, int | float) for value in event["args"].values())
        else:
            assert event["s"] == "g"
    named = {pid for pid, _ in names["process_name"]}
    assert {event["pid"] for event in trace["traceEvents"]} <= named
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            assert (event["pid"], event["tid"]) in names["thread_name"]


def spans_by_track(trace):
    tracks = collections.defaultdict(list)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            track = (event["pid"], event["tid"])
            tracks[track].append((event["ts"], event["ts"] + event["dur"], event["name"]))
    return tracks


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(run=runs(max_envs=8))
def test_any_run_gives_a_valid_trace_in_which_no_spans_of_a_track_cross(run, tmp_path):
    run.episodes = []  # random ones overlap each other
    timeline, trace = trace_of(run, tmp_path)
    check_schema(trace)
    for spans in spans_by_track(trace).values():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    tracks = spans_by_track(trace)
    assert len(tracks.get((1, 1), [])) == len(run.ticks)
    maker = IntervalMaker(timeline)
    for row in range(run.num_envs):
        expected = [i for i in maker.of_row(row).as_list() if i.state != RowState.NO_TICK]
        got = tracks.get((3, row + 1), [])
        assert [(begin, end) for begin, end, _ in got] == [
            (round(i.begin_s * 1e6), round(i.end_s * 1e6)) for i in expected
        ]


def test_what_the_tracks_hold(tmp_path):
    ticks = [(100 * t, 100 * t + 90, all_active(2), None, np.array([t, t + 2])) for t in range(4)]
    ticks[2] = (200, 290, rows_active(2, 0), rows_active(2, 1), np.array([2, 0]))
    calls = [([0, 1], 10, 20, 80, "plan", None), ([1], 30, 30, 60, "inference", "boom")]
    episodes = [(1, 7, 0, 1, 2.5, True), (0, 8, 3, 9, float("inf"), None)]
    _, trace = trace_of(Run(2, ticks, calls, episodes), tmp_path)
    check_schema(trace)
    assert trace["otherData"]["task"] == "t"
    events = trace["traceEvents"]
    tick = next(e for e in events if e["name"] == "tick" and e["ts"] == 200)
    assert tick["dur"] == 90
    assert tick["args"] == {"tick": 2, "active": 1, "suspended": 0, "parked": 1}
    rows = [(e["ts"], e["args"]["active"]) for e in events if e["name"] == "rows" and "ts" in e]
    assert rows == [(0, 2), (200, 1), (300, 2)]
    staleness = [e["args"] for e in events if e["name"] == "staleness [ticks]"]
    assert staleness[:3] == [
        {"mean": 1.0, "largest": 2.0},
        {"mean": 2.0, "largest": 3.0},
        {"mean": 2.0, "largest": 2.0},
    ]
    plan, inference = (next(e for e in events if e["name"] == n) for n in ("plan", "inference"))
    assert (plan["ts"], plan["dur"], inference["ts"], inference["dur"]) == (20, 60, 30, 30)
    assert plan["tid"] != inference["tid"]
    assert plan["args"] == {"rows": 2, "env_ids": "0, 1", "queued_ms": 0.01}
    assert inference["args"]["error"] == "boom"
    episode = next(e for e in events if e["name"] == "episode 7")
    assert (episode["ts"], episode["dur"], episode["pid"], episode["tid"]) == (0, 190, 4, 2)
    assert episode["args"] == {"episode_return": 2.5, "success": True}
    assert next(e for e in events if e["name"] == "episode 8")["args"]["episode_return"] == "nan"
    tracks = spans_by_track(trace)
    assert [name for *_, name in tracks[(3, 2)]] == ["active", "parked", "active"]


def test_files_may_be_compressed(tmp_path):
    timeline, trace = trace_of(Run(1, [(0, 5, all_active(1), None, None)]), tmp_path)
    plain = write_chrome_trace(timeline, tmp_path / "made" / "trace.json")
    packed = write_chrome_trace(timeline, tmp_path / "made" / "trace.json.gz")
    assert json.loads(plain.read_text()) == trace
    assert json.loads(gzip.decompress(packed.read_bytes())) == trace
