"""The page: what is in it, and that its script says what Python says."""

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdstep.errors import TimelineError
from holdstep.timeline import crop, read_timeline, write_html
from holdstep.timeline.palette import LABELS
from tests.timeline.runs import Run, all_active, rows_active, runs

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="Node.js, which runs the page, is missing")
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u2028$x$"


class Page(html.parser.HTMLParser):
    """The elements of a page, with their attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_data(self, data):
        if self.elements:
            self.elements[-1][2] += data

    def text_of(self, tag):
        return [text for name, _, text in self.elements if name == tag]

    def scripts(self):
        """The data, and the program."""
        data, program = (e for e in self.elements if e[0] == "script")
        assert data[1] == {"type": "application/json", "id": "data"}
        assert program[1] == {}
        return json.loads(data[2]), program[2]


def page_of(run, tmp_path, title="t", **part):
    run.write(tmp_path / "run.jsonl", metadata={"why": HOSTILE, HOSTILE: 1})
    timeline = read_timeline(tmp_path / "run.jsonl")
    timeline = crop(timeline, **part) if part else timeline
    path = write_html(timeline, tmp_path / "made" / "page.html", title=title)
    return timeline, Page(path.read_text(encoding="utf-8"))


def small_run():
    ticks = [(100 * t, 100 * t + 90, all_active(3), None, np.full(3, t)) for t in range(5)]
    ticks[2] = (200, 290, rows_active(3, 0), rows_active(3, 2), None)
    calls = [([0, 2], 91, 92, 99, HOSTILE, HOSTILE)]
    return Run(3, ticks, calls, [(1, 0, 0, 3, float("nan"), False)])


def test_a_page_is_one_file_without_any_address(tmp_path):
    _, page = page_of(small_run(), tmp_path)
    tags = {tag for tag, _, _ in page.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "form", "a"}
    for _, attributes, _ in page.elements:
        assert not {"src", "href", "onload", "onerror"} & set(attributes)
    policy = next(a["content"] for t, a, _ in page.elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert "connect-src" not in policy
    _, program = page.scripts()
    assert not re.search(r"https?:|fetch\(|XMLHttp|import\(|innerHTML|eval\(|\.write\(", program)


def test_nothing_in_a_trace_becomes_markup(tmp_path):
    timeline, page = page_of(small_run(), tmp_path, title=HOSTILE)
    assert page.text_of("title") == [HOSTILE + "\n"]
    assert page.text_of("h1") == [HOSTILE + "\n"]
    assert f"why: {HOSTILE}" in page.text_of("p")[0]
    data, _ = page.scripts()  # there are still just two
    raw = next(text for _, attributes, text in page.elements if attributes.get("id") == "data")
    assert not set("<>&") & set(raw)
    assert data["calls"][0]["kind"] == data["calls"][0]["error"] == HOSTILE
    assert timeline.metadata["why"] == HOSTILE


def test_numbers_are_beside_the_picture(tmp_path):
    _, page = page_of(small_run(), tmp_path)
    cells = [text.strip() for text in page.text_of("td")]
    numbers = dict(zip(cells[::2], cells[1::2], strict=True))
    assert numbers["useful env-steps"] == "13"
    assert numbers["failed calls"] == "1"
    assert numbers["episodes"] == "1"
    assert [text.strip() for text in page.text_of("i")] == list(LABELS.values())


def test_what_the_reader_noticed_is_said(tmp_path):
    small_run().write(tmp_path / "run.jsonl")
    data = (tmp_path / "run.jsonl").read_bytes()
    (tmp_path / "run.jsonl").write_bytes(data[:-3])
    path = write_html(read_timeline(tmp_path / "run.jsonl"), tmp_path / "page.html")
    assert "is torn and was left out" in path.read_text()


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(TimelineError, match="nothing to draw"):
        page_of(Run(2, []), tmp_path)
    assert not (tmp_path / "made" / "page.html").exists()


def ask(page, moments=(), gestures=()):
    data, program = page.scripts()
    questions = {
        "data": data, "moments": moments, "script": program, "gestures": gestures,
    }  # fmt: skip
    done = subprocess.run(
        [NODE, Path(__file__).with_name("page_questions.js")],
        input=json.dumps(questions), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(run=runs(max_envs=20), seed=st.integers(0, 999), cut=st.booleans())
def test_the_page_says_of_each_moment_what_the_trace_says(run, seed, cut, tmp_path):
    part = {"rows": slice(run.num_envs // 3, None)} if cut else {}
    try:
        timeline, page = page_of(run, tmp_path, **part)
    except TimelineError:
        return
    begin_s, end_s = timeline.span_s
    rng = np.random.default_rng(seed)
    moments, expected = [], []
    staleness = run.staleness()
    for _ in range(80):
        index = int(rng.integers(timeline.num_envs))
        row = int(timeline.env_ids[index])
        time_us = int(rng.integers(round(begin_s * 1e6), round(end_s * 1e6))) + 0.5
        tick = int(rng.integers(-1, len(run.ticks)))
        moments.append([index, time_us, tick])
        known = tick >= 0 and staleness[tick, row] >= 0
        state = run.state_at(row, time_us) if not cut else None
        expected.append([state, int(staleness[tick, row]) if known else None])
    answers = ask(page, moments)["answers"]
    for answer, (state, stale), moment in zip(answers, expected, moments, strict=True):
        # Without some rows, some calls are left out too; states of those are tested elsewhere.
        assert state is None or answer[0] == state, moment
        assert answer[1] == stale, moment


@needs_node
def test_the_page_draws_zooms_and_tells_what_is_pointed_at(tmp_path):
    _, page = page_of(small_run(), tmp_path)
    point = {"clientX": 70, "clientY": 60}
    told = ask(
        page,
        gestures=[
            ("pointermove", point),
            *[("wheel", {**point, "deltaY": -1})] * 80,
            *[("wheel", {**point, "deltaY": -1, "shiftKey": True})] * 9,
            ("pointerdown", point),
            ("pointermove", {"clientX": 500, "clientY": 300}),
            ("pointerup", {}),
            *[("keydown", {"key": key}) for key in ("+", "-", "ArrowLeft", "ArrowRight", "0")],
            ("dblclick", {}),
            ("pointerleave", {}),
        ],
    )
    assert told["counts"]["drawImage"] == 1 + 89 + 1 + 5 + 1
    assert told["tips"][0].startswith("row 0: active\ntick 0, 0.09 ms")
    assert "staleness 0 ticks" in told["tips"][0]


@needs_node
def test_the_page_draws_a_large_batch(tmp_path):
    rng = np.random.default_rng(0)
    ticks = [(10 * t, 10 * t + 9, rng.random(3000) < 0.9, None, None) for t in range(60)]
    _, page = page_of(
        Run(3000, ticks, [(list(range(3000)), 5, 5, 90, "inference", None)]), tmp_path
    )
    counts = ask(page)["counts"]
    assert counts["drawImage"] == 1
    assert 0 < counts["lines"] <= 560  # no more than there are pixels
