"""Sinks that are handed what a stack does while somebody else steps it."""

import io
import json

import pytest
import torch
from rich.console import Console

from holdstep.envs import RslRlVecEnv, make
from holdstep.errors import ConfigError
from holdstep.monitor import LiveTable, TensorBoardStats, TimelineStats, watch
from holdstep.timeline import TimelineWriter, crop, read_timeline, to_chrome_trace
from holdstep.wrappers import RecordTimeline, SuspendOnWait


class Kept:
    def __init__(self):
        self.shown, self.closed = [], 0

    def show(self, found, num_steps):
        self.shown.append((num_steps, found))

    def close(self):
        self.closed += 1


class FakeTime:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def suspending():
    env = SuspendOnWait(make("holdstep:CartPole", num_envs=4, device="cpu", seed=0))
    env.reset()
    return env


def test_sinks_see_the_stack_at_intervals_and_at_the_end():
    env, kept, clock = suspending(), Kept(), FakeTime()
    with watch(env, [kept], every_s=1.0, clock=clock):
        for _ in range(10):
            clock.now_s += 0.3
            env.step(torch.zeros(4, 1))
        assert [n for n, _ in kept.shown] == [4, 8]
    assert [n for n, _ in kept.shown] == [4, 8, 10]
    assert kept.shown[-1][1].scalars()["SuspendOnWait/num_steps"] == 10.0
    assert kept.shown[-1][1].layers[0].own_step_s > 0
    assert kept.closed == 1
    assert "step" not in vars(env)


def test_a_view_may_be_what_steps():
    env, kept = suspending(), Kept()
    view = RslRlVecEnv(env)
    with watch(view, [kept], every_s=0.0):
        view.step(torch.zeros(4, 1))
    assert [n for n, _ in kept.shown] == [1, 1]


def test_sinks_are_closed_and_told_the_last_state_when_the_run_fails():
    env, kept = suspending(), Kept()

    def fail_inside():
        with watch(env, [kept], every_s=100.0):
            env.step(torch.zeros(4, 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert [n for n, _ in kept.shown] == [1]
    assert kept.closed == 1
    with pytest.raises(ConfigError, match="every_s"), watch(env, [], every_s=-1):
        pass


def test_the_table_has_a_line_for_each_layer():
    env = suspending()
    env.suspend([0])
    out = io.StringIO()
    table = LiveTable(Console(file=out, width=100))
    table.caption = "episode 3 of 9"
    with watch(env, [table], every_s=100.0):
        env.step(torch.zeros(4, 1))
    text = out.getvalue()
    assert "SuspendOnWait" in text
    assert "suspended share 25%" in text
    assert "CartPole" in text
    assert "1 steps" in text
    assert "episode 3 of 9" in text


def test_tensorboard_reads_the_curves_back(tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    env = suspending()
    env.suspend([0, 1])
    with watch(env, [TensorBoardStats(tmp_path)], every_s=0.0):
        for _ in range(3):
            env.step(torch.zeros(4, 1))
    events = event_accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    curve = events.Scalars("holdstep/SuspendOnWait/suspended_share")
    assert [(e.step, e.value) for e in curve][:3] == [(1, 0.5), (2, 0.5), (3, 0.5)]


def test_a_trace_has_them_as_counters(tmp_path):
    env = RecordTimeline(suspending(), tmp_path / "run.jsonl")
    env.reset()
    with watch(env, [TimelineStats(env.timeline)], every_s=0.0):
        env.step(torch.zeros(4, 1))
    env.close()
    timeline = read_timeline(tmp_path / "run.jsonl")
    assert [s.values["SuspendOnWait/num_steps"] for s in timeline.samples] == [1.0, 1.0]
    events = json.loads(json.dumps(to_chrome_trace(timeline)))["traceEvents"]
    counters = [e for e in events if e["name"] == "SuspendOnWait/num_steps"]
    assert [(e["ph"], e["args"]) for e in counters] == [("C", {"value": 1.0})] * 2


def test_samples_survive_writing_reading_and_cropping(tmp_path):
    path = tmp_path / "run.jsonl"
    with TimelineWriter(path, num_envs=1, clock=lambda: 0.0) as writer:
        for begin_s in (0.0, 1.0, 2.0):
            writer.tick(torch.ones(1, dtype=torch.bool).numpy(), begin_s=begin_s, end_s=begin_s + 1)
            writer.sample({'a "b"\n': begin_s, "bad": float("nan")}, at_s=begin_s)
    timeline = read_timeline(path)
    assert [(s.at_s, s.values['a "b"\n']) for s in timeline.samples] == [(0, 0), (1, 1), (2, 2)]
    assert all(s.values["bad"] != s.values["bad"] for s in timeline.samples)
    assert [s.at_s for s in crop(timeline, from_s=0.5, to_s=1.5).samples] == [1.0]
    names = [e["name"] for e in to_chrome_trace(timeline)["traceEvents"]]
    assert names.count('a "b"\n') == 3
    assert "bad" not in names
