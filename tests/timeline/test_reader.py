import json
import subprocess
import sys

import numpy as np
import pytest

from holdstep.errors import HoldstepError, TimelineError
from holdstep.timeline import TimelineWriter, read_timeline
from tests.timeline.runs import Run, rows_active

HEADER = '{"format":"holdstep-timeline","version":1,"num_envs":20}\n'
FIRST = '{"tick":[0,5],"active":[0,1,2,3,4,5,6,7,8,9],"suspended":"003ff0"}\n'


def write(tmp_path, text):
    path = tmp_path / "run.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def small_run():
    ticks = [(10 * t, 10 * t + 9, rows_active(20, t, t + 1), None, None) for t in range(6)]
    return Run(20, ticks, [([1, 2], 3, 5, 30, "plan", "bad")], [(1, 0, 0, 3, 2.5, True)])


def test_a_file_torn_at_any_byte_reads_up_to_there(tmp_path):
    path = tmp_path / "run.jsonl"
    run = small_run()
    run.write(path)
    data = path.read_bytes()
    end_of_header = data.index(b"\n") + 1
    for size in range(end_of_header, len(data)):
        path.write_bytes(data[:size])
        timeline = read_timeline(path)
        whole_lines = data[end_of_header:size].count(b"\n")
        assert timeline.num_ticks == min(whole_lines, 6)
        assert np.array_equal(timeline.state_matrix(), run.states()[:whole_lines])
        assert not timeline.complete
        torn = not data[:size].endswith(b"\n")
        assert any("is torn" in problem for problem in timeline.problems) == torn


def test_a_file_that_ends_in_the_middle_of_its_header_is_no_trace(tmp_path):
    with pytest.raises(TimelineError, match="is no trace of holdstep"):
        read_timeline(write(tmp_path, HEADER[:30]))


def test_a_run_can_be_looked_at_while_it_goes_on(tmp_path):
    writer = TimelineWriter(tmp_path / "run.jsonl", num_envs=2)
    assert read_timeline(tmp_path / "run.jsonl").num_ticks == 0
    writer.tick(np.array([True, False]), begin_s=0.0, end_s=0.1)
    writer.flush()
    timeline = read_timeline(tmp_path / "run.jsonl")
    assert timeline.state_matrix().tolist() == [[0, 1]]
    assert "still writes" in timeline.problems[0]
    writer.close()


@pytest.mark.parametrize(
    "text",
    ["", "\n", "hello\n", "[1]\n", '{"format": "other"}\n', "\x89PNG\r\n\x1a\n", "[" * 100_000],
)
def test_other_files_are_refused_by_name(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(TimelineError, match="is no trace of holdstep") as refused:
        read_timeline(path)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 400
    assert isinstance(refused.value, HoldstepError)
    assert isinstance(refused.value, ValueError)


def test_a_later_version_is_refused(tmp_path):
    with pytest.raises(TimelineError, match="version 2, this holdstep reads version 1"):
        read_timeline(write(tmp_path, HEADER.replace('"version":1', '"version":2')))


@pytest.mark.parametrize("num_envs", ["0", "-3", "1e12", "99999999999999", "null", "true", '"8"'])
def test_numbers_of_rows_that_are_not_believed(tmp_path, num_envs):
    with pytest.raises(TimelineError, match="a trace has 1 to"):
        read_timeline(write(tmp_path, HEADER.replace("20}", num_envs + "}")))


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"tick":[0]}',
        '{"tick":[7,6]}',
        '{"tick":[4,9]}',
        '{"tick":[6.5,7]}',
        '{"tick":[6,99999999999999999999999]}',
        '{"tick":"ab"}',
        '{"tick":[6,7],"active":[20]}',
        '{"tick":[6,7],"active":[-1]}',
        '{"tick":[6,7],"active":["1"]}',
        '{"tick":[6,7],"active":[true]}',
        '{"tick":[6,7],"active":{"0":1}}',
        '{"tick":[6,7],"active":"zz"}',
        '{"tick":[6,7],"active":"ffff"}',
        '{"tick":[6,7],"active":"fffff8"}',
        '{"tick":[6,7],"active":[1],"parked":[1]}',
        '{"tick":[6,7],"stale":[[0]]}',
        '{"tick":[6,7],"stale":[["0",[1]]]}',
        '{"tick":[6,7],"stale":[[1e30,[1]]]}',
        '{"tick":[6,7],"stale":5}',
        '{"call":[1,2,3]}',
        '{"call":[1,2],"rows":[]}',
        '{"call":[3,2,4],"rows":[]}',
        '{"episode":[1,2,3],"return":0}',
        '{"episode":[20,0,0,1],"return":0}',
        '{"episode":[0,0,5,1],"return":0}',
        '{"episode":[0,0,0,1.5],"return":0}',
        '{"episode":[0,0,0,1],"return":[]}',
        '{"note":"x"}',
        "[" * 100_000,
    ],
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = write(tmp_path, f"{HEADER}{FIRST}{line}\n" + '{"tick":[10,11]}\n')
    with pytest.raises(TimelineError, match=r"Line 3 of .*head -n 2") as refused:
        read_timeline(path)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("line", ['{"tick":[0,5]}', '{"tick":[0,5],"active":[0,1]}'])
def test_a_first_tick_that_does_not_tell_of_all_rows(tmp_path, line):
    with pytest.raises(TimelineError, match="first tick"):
        read_timeline(write(tmp_path, f"{HEADER}{line}\n"))


def test_what_a_later_writer_may_add_is_skipped(tmp_path):
    text = HEADER + FIRST + '{"tick":[6,7],"temperature":[20.5]}\n{"weather":"fine"}\n{"end":9}\n'
    timeline = read_timeline(write(tmp_path, text))
    assert timeline.num_ticks == 2
    assert timeline.complete


def test_a_header_of_many_rows_alone_costs_little(tmp_path):
    text = HEADER.replace("20}", "1000000}")
    assert read_timeline(write(tmp_path, text)).num_envs == 1_000_000


def test_lines_are_strict_json(tmp_path):
    def refuse(constant):
        raise AssertionError(constant)

    path = tmp_path / "run.jsonl"
    with TimelineWriter(path, num_envs=1) as writer:
        for total in (float("nan"), float("inf"), 1e300, 0.1):
            writer.episode(0, 0, begin_tick=0, end_tick=0, episode_return=total)
        writer.note("\x00\n\u2028é")
    for line in path.read_text(encoding="ascii").splitlines():
        json.loads(line, parse_constant=refuse)
    assert read_timeline(path).notes[0].text == "\x00\n\u2028é"


def test_reading_needs_no_torch_and_drawing_is_imported_when_it_is_done(tmp_path):
    path = tmp_path / "run.jsonl"
    small_run().write(path)
    code = (
        "import sys\n"
        "from holdstep.timeline import read_timeline, summarize, write_html\n"
        f"timeline = read_timeline({str(path)!r})\n"
        f"write_html(timeline, {str(tmp_path / 'page.html')!r})\n"
        "print(summarize(timeline).num_ticks, {'torch', 'matplotlib'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "6 set()", done.stderr
