import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from holdstep.errors import ConfigError
from holdstep.timeline import TimelineWriter, read_timeline
from tests.timeline.runs import all_active, rows_active


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "made" / "run.jsonl"


def test_the_header_says_what_the_file_is(path):
    metadata = {"task": "t", "path": path, "nested": {"seeds": [1, np.int64(2)]}}
    TimelineWriter(path, num_envs=5, metadata=metadata, clock=Clock()).close()
    header = lines_of(path)[0]
    assert header["format"] == "holdstep-timeline"
    assert header["version"] == 1
    assert header["num_envs"] == 5
    assert header["clock_s"] == 100.0
    assert header["wall_time_s"] > 1.7e9
    assert header["metadata"] == {"task": "t", "path": str(path), "nested": {"seeds": [1, 2]}}


def test_a_tick_in_which_nothing_changed_is_a_short_line(path):
    with TimelineWriter(path, num_envs=64, clock=Clock()) as writer:
        for tick in range(3):
            writer.tick(all_active(64), begin_s=101.0 + tick, end_s=101.5 + tick)
    assert [line.get("tick") for line in lines_of(path)[1:4]] == [
        [1_000_000, 1_500_000],
        [2_000_000, 2_500_000],
        [3_000_000, 3_500_000],
    ]
    assert [len(line) for line in lines_of(path)[1:4]] == [2, 1, 1]


def test_what_was_written_is_on_the_way_to_disk_after_a_second_and_not_before(path):
    clock = Clock()
    writer = TimelineWriter(path, num_envs=1, clock=clock)
    for step in range(12):
        clock.now = 100.0 + 0.1 * step
        writer.tick(all_active(1), begin_s=clock.now, end_s=clock.now)
        if step == 8:
            assert len(lines_of(path)) == 1
    assert len(lines_of(path)) > 10
    writer.note("now", at_s=101.2)
    writer.flush()
    assert lines_of(path)[-1] == {"note": "now", "at": 1_200_000}
    writer.close()


def test_a_full_buffer_is_written_at_once(path):
    writer = TimelineWriter(path, num_envs=1, clock=Clock())
    for _ in range(3000):
        writer.note("x" * 20)
    assert path.stat().st_size >= 1 << 16
    writer.close()
    assert len(lines_of(path)) == 3002


def test_close_may_be_called_again_and_what_comes_later_is_counted(path):
    writer = TimelineWriter(path, num_envs=2, clock=Clock())
    writer.close()
    size = path.stat().st_size
    writer.inference([0], submitted_s=1.0, begin_s=1.0, end_s=1.0)
    writer.tick(all_active(2), begin_s=0.0, end_s=1.0)
    writer.flush()
    writer.close()
    assert writer.num_dropped == 2
    assert path.stat().st_size == size


def test_a_file_does_not_outgrow_its_limit(path):
    writer = TimelineWriter(path, num_envs=2, max_bytes=4096, clock=Clock())
    for _ in range(1000):
        writer.note("some text")
    writer.close()
    assert path.stat().st_size <= 4096
    timeline = read_timeline(path)
    assert "limit of 4096 bytes" in timeline.problems[0]
    assert len(timeline.notes) > 50
    assert writer.num_dropped == 1000 - len(timeline.notes)


def test_a_writer_that_is_thrown_away_writes_what_it_had(path):
    writer = TimelineWriter(path, num_envs=1, clock=Clock())
    writer.note("kept")
    del writer
    gc.collect()
    assert lines_of(path)[-1]["note"] == "kept"


WRITES = """
import os, signal, sys, time
import numpy as np
from holdstep.timeline import TimelineWriter
writer = TimelineWriter(sys.argv[1], num_envs=2)
for tick in range(20_000):
    now = time.perf_counter()
    writer.tick(np.array([True, tick % 3 == 0]), begin_s=now, end_s=now)
print(tick + 1, flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run_script(path, how):
    return subprocess.run(
        [sys.executable, "-c", WRITES, path, how], capture_output=True, text=True, timeout=60
    )


def test_a_process_that_ends_without_closing_loses_nothing(tmp_path):
    done = run_script(tmp_path / "run.jsonl", "ends")
    assert done.returncode == 0, done.stderr
    assert read_timeline(tmp_path / "run.jsonl").num_ticks == 20_000


def test_a_killed_process_loses_only_what_was_buffered(tmp_path):
    done = run_script(tmp_path / "run.jsonl", "killed")
    assert done.returncode == -signal.SIGKILL
    timeline = read_timeline(tmp_path / "run.jsonl")
    lost_bytes = (20_000 - timeline.num_ticks) * 20
    assert 0 < lost_bytes < 2 << 16
    assert not timeline.complete
    assert "killed" in timeline.problems[-1]
    expected = [[0, 0 if tick % 3 == 0 else 1] for tick in range(timeline.num_ticks)]
    assert timeline.state_matrix().tolist() == expected


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_ends_the_trace_and_not_the_run():
    with pytest.warns(RuntimeWarning, match="ends here, the run goes on: .*No space left"):
        writer = TimelineWriter("/dev/full", num_envs=1)
    for _ in range(3):
        writer.note("the run goes on")
    writer.flush()
    writer.close()
    assert writer.num_dropped == 4


def one_at_a_time(write):
    """Refuses to be called while it runs, and lets others try."""
    running = threading.Lock()

    def checked(*arguments):
        assert running.acquire(blocking=False), "two threads write at once"
        time.sleep(1e-5)
        write(*arguments)
        running.release()

    return checked


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_may_report_at_the_same_time(path):
    num_envs, num_threads, num_calls = 300, 4, 300
    writer = TimelineWriter(path, num_envs=num_envs)
    writer._sink.write = one_at_a_time(writer._sink.write)
    start = threading.Barrier(num_threads + 1)

    def report(thread):
        start.wait()
        for call in range(num_calls):
            rows = [thread, 10 + call % 200]
            writer.inference(rows, submitted_s=0.0, begin_s=call, end_s=call + 1, kind=f"{thread}")

    threads = [threading.Thread(target=report, args=(i,)) for i in range(num_threads)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # turns change within lines, if anything lets them
    try:
        for thread in threads:
            thread.start()
        start.wait()
        rng = np.random.default_rng(0)
        masks = rng.random((num_calls, num_envs)) < 0.9
        for tick, mask in enumerate(masks):
            writer.tick(mask, begin_s=tick, end_s=tick + 0.5)
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    writer.close()
    timeline = read_timeline(path)
    assert np.array_equal(timeline.state_matrix() == 0, masks)
    for thread in range(num_threads):
        mine = [call for call in timeline.calls if call.kind == str(thread)]
        assert len(mine) == num_calls
        assert all(thread in call.env_ids for call in mine)


def test_measure_reports_a_block_also_when_it_fails(path):
    clock = Clock()
    with TimelineWriter(path, num_envs=4, clock=clock) as writer:
        with writer.measure([1, 2], kind="plan"):
            clock.now += 0.25

        def fail():
            with writer.measure([3]):
                clock.now += 0.5
                raise KeyError("x")

        with pytest.raises(KeyError):
            fail()
    plan, failed = read_timeline(path).calls
    assert (plan.kind, plan.env_ids.tolist(), plan.error) == ("plan", [1, 2], None)
    assert (plan.begin_s, plan.end_s) == pytest.approx((0.0, 0.25))
    assert (failed.kind, failed.env_ids.tolist()) == ("inference", [3])
    assert failed.error == "KeyError: 'x'"
    assert failed.end_s - failed.begin_s == pytest.approx(0.5)


def test_ids_of_a_call_may_be_tensors_and_may_repeat(path):
    import torch

    with TimelineWriter(path, num_envs=4, clock=Clock()) as writer:
        times = {"submitted_s": 0.0, "begin_s": 0.0, "end_s": 0.0}
        writer.inference(torch.tensor([3, 1, 3]), **times)
        writer.inference([], **times)
    assert [call.env_ids.tolist() for call in read_timeline(path).calls] == [[1, 3], []]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer from 1"),
        ({"num_envs": True}, "num_envs"),
        ({"num_envs": 2.0}, "num_envs"),
        ({"num_envs": 1 << 21}, "num_envs"),
        ({"num_envs": 2, "max_bytes": 10}, "max_bytes must be an integer at least 1024"),
        ({"num_envs": 2, "metadata": {"x": float("nan")}}, "metadata can't be written as JSON"),
        ({"num_envs": 2, "metadata": {"x": "y" * (1 << 20)}}, "metadata takes 1048"),
        ({"num_envs": 2, "metadata": {"x": "y" * 2000}, "max_bytes": 4096}, "at most 2048"),
        ({"num_envs": 2, "metadata": {(1, 2): "x"}}, "metadata can't be written as JSON"),
    ],
)
def test_arguments_that_cannot_be_meant(path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        TimelineWriter(path, **arguments)
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"active_mask": np.ones(3, dtype=bool)},
            r"active_mask must be bool \[2\], got bool \[3\]",
        ),
        ({"active_mask": np.ones(2)}, r"active_mask must be bool \[2\], got float64 \[2\]"),
        ({"parked_mask": np.ones(2, dtype=np.uint8)}, "parked_mask must be bool"),
        ({"staleness_ticks": np.ones(2)}, "staleness_ticks must be integers"),
        ({"staleness_ticks": np.ones(3, dtype=int)}, r"integers \[2\], got int64 \[3\]"),
        ({"begin_s": 4.9}, r"must begin after the last one has ended \(5.0\)"),
        ({"end_s": 5.5}, "must begin after"),
        ({"end_s": float("nan")}, "must begin after"),
        ({"end_s": float("inf")}, "must begin after"),
    ],
)
def test_ticks_that_cannot_be_meant_leave_no_trace(path, arguments, message):
    with TimelineWriter(path, num_envs=2, clock=Clock()) as writer:
        writer.tick(all_active(2), begin_s=4.0, end_s=5.0)
        good = {"active_mask": rows_active(2, 1), "begin_s": 6.0, "end_s": 7.0}
        with pytest.raises(ConfigError, match=message):
            writer.tick(**(good | arguments))
        writer.tick(**good)
    assert read_timeline(path).state_matrix().tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize(
    ("env_ids", "times", "message"),
    [
        ([2], (0, 0, 0), "rows from 0 to 1"),
        ([-1], (0, 0, 0), "rows from 0 to 1"),
        ([0], (1, 0, 2), "submitted, then begins, then ends"),
        ([0], (0, 2, 1), "submitted, then begins, then ends"),
        ([0], (0, 0, float("nan")), "submitted, then begins"),
        ([0], (float("-inf"), 0, 1), "submitted, then begins"),
    ],
)
def test_calls_that_cannot_be_meant(path, env_ids, times, message):
    submitted, begin, end = times
    with TimelineWriter(path, num_envs=2) as writer, pytest.raises(ConfigError, match=message):
        writer.inference(env_ids, submitted_s=submitted, begin_s=begin, end_s=end)


@pytest.mark.parametrize(("env_id", "begin", "end"), [(2, 0, 0), (-1, 0, 0), (0, 3, 2), (0, -1, 2)])
def test_episodes_that_cannot_be_meant(path, env_id, begin, end):
    with TimelineWriter(path, num_envs=2) as writer, pytest.raises(ConfigError):
        writer.episode(env_id, 0, begin_tick=begin, end_tick=end, episode_return=0.0)


def test_numpy_numbers_are_numbers(path):
    with TimelineWriter(path, num_envs=np.int64(2)) as writer:
        writer.episode(
            np.int64(1), np.int32(7), begin_tick=np.int64(0), end_tick=np.int64(3),
            episode_return=np.float32(0.5), success=np.bool_(True),
        )  # fmt: skip
    (episode,) = read_timeline(path).episodes
    assert (episode.episode_id, episode.episode_return, episode.success) == (7, 0.5, True)
