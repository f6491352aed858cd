"""What is read is what was written, whatever it was."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from holdstep.timeline import RowState, read_timeline, summarize
from tests.timeline.runs import Run, all_active, rows_active, runs

SETTINGS = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SETTINGS
@given(run=runs())
def test_everything_comes_back(run, tmp_path):
    path = tmp_path / "run.jsonl"
    run.write(path)
    timeline = read_timeline(path)
    assert timeline.complete
    assert timeline.problems == ()
    assert timeline.env_ids.tolist() == list(range(run.num_envs))
    assert np.array_equal(timeline.state_matrix(), run.states())
    begins, ends = ([tick[i] for tick in run.ticks] for i in (0, 1))
    assert np.allclose(timeline.tick_begin_s * 1e6, begins, atol=1e-3)
    assert np.allclose(timeline.tick_end_s * 1e6, ends, atol=1e-3)
    for row in range(run.num_envs):
        assert timeline.staleness_of(row).tolist() == run.staleness()[:, row].tolist()
    told = [tick[4] is not None for tick in run.ticks]
    assert timeline.staleness_known.tolist() == told
    expected = sorted(run.calls, key=lambda call: call[2])
    for call, (env_ids, submitted, begin, end, kind, error) in zip(
        timeline.calls, expected, strict=True
    ):
        assert call.env_ids.tolist() == env_ids
        times = [call.submitted_s, call.begin_s, call.end_s]
        assert np.allclose(np.array(times) * 1e6, [submitted, begin, end], atol=1e-3)
        assert (call.kind, call.error) == (kind, error)
    for episode, (env_id, number, begin, end, total, success) in zip(
        timeline.episodes, run.episodes, strict=True
    ):
        assert (episode.env_id, episode.episode_id) == (env_id, number)
        assert (episode.begin_tick, episode.end_tick) == (begin, end)
        assert episode.success is success
        if math.isfinite(total):
            assert episode.episode_return == total
        else:
            assert math.isnan(episode.episode_return)


@SETTINGS
@given(run=runs())
def test_counts_and_staleness_per_tick(run, tmp_path):
    path = tmp_path / "run.jsonl"
    run.write(path)
    timeline = read_timeline(path)
    states, staleness = run.states(), run.staleness()
    for state in (RowState.ACTIVE, RowState.SUSPENDED, RowState.PARKED):
        assert timeline.num_rows_in(state).tolist() == (states == state).sum(axis=1).tolist()
    mean, largest, count = timeline.staleness_per_tick
    for tick, row in enumerate(staleness):
        known = row[row >= 0]
        assert count[tick] == known.size
        if known.size:
            assert mean[tick] == pytest.approx(known.mean())
            assert largest[tick] == known.max()
        else:
            assert math.isnan(mean[tick])
            assert math.isnan(largest[tick])
    summary = summarize(timeline)
    assert summary.num_useful_steps == (states == RowState.ACTIVE).sum()
    if (staleness >= 0).any():
        assert summary.mean_staleness_ticks == pytest.approx(staleness[staleness >= 0].mean())
        assert summary.max_staleness_ticks == staleness.max()


def test_a_trace_of_a_large_batch_is_small(tmp_path):
    """Ticks in which nothing changes, and a few rows do, don't cost a line of all rows."""
    num_envs, path = 4096, tmp_path / "run.jsonl"
    ticks, active = [], all_active(num_envs)
    for tick in range(160):
        active = active.copy()
        if tick % 16 == 0:
            active[:] = True
        active[tick] = False
        ticks.append((tick * 10, tick * 10 + 9, active, None, np.full(num_envs, tick % 16)))
    run = Run(num_envs, ticks)
    run.write(path)
    assert path.stat().st_size / len(ticks) < 260
    assert np.array_equal(read_timeline(path).state_matrix(), run.states())


def test_an_array_may_be_written_to_after_the_call(tmp_path):
    from holdstep.timeline import TimelineWriter

    active, staleness = all_active(3), np.zeros(3, dtype=np.int32)
    with TimelineWriter(tmp_path / "run.jsonl", num_envs=3, clock=lambda: 0.0) as writer:
        for tick in range(4):
            staleness[:] = tick // 2
            active[:] = rows_active(3, tick % 3)
            writer.tick(active, begin_s=tick, end_s=tick, staleness_ticks=staleness)
            staleness[:] = 77
            active[:] = True
    timeline = read_timeline(tmp_path / "run.jsonl")
    assert timeline.state_matrix().argmin(axis=1).tolist() == [0, 1, 2, 0]
    assert [timeline.staleness_of(tick % 3)[tick] for tick in range(4)] == [0, 0, 1, 1]
