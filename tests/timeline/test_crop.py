import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from holdstep.errors import TimelineError
from holdstep.timeline import crop, read_timeline, summarize
from tests.timeline.runs import Run, all_active, runs

SETTINGS = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SETTINGS
@given(run=runs(), data=st.data())
def test_a_part_is_what_the_whole_is_there(run, data, tmp_path):
    run.write(tmp_path / "run.jsonl")
    whole = read_timeline(tmp_path / "run.jsonl")
    assume(run.ticks)
    first = data.draw(st.integers(0, len(run.ticks) - 1))
    last = data.draw(st.integers(first, len(run.ticks) - 1))
    start = data.draw(st.integers(0, run.num_envs - 1))
    stop = data.draw(st.integers(start + 1, run.num_envs))
    step = data.draw(st.integers(1, 3))
    from_s, to_s = whole.tick_begin_s[first], whole.tick_end_s[last]
    part = crop(whole, rows=slice(start, stop, step), from_s=from_s, to_s=to_s)
    rows = list(range(start, stop, step))
    kept = [
        tick
        for tick in range(len(run.ticks))
        if whole.tick_end_s[tick] >= from_s and whole.tick_begin_s[tick] <= to_s
    ]
    assert part.env_ids.tolist() == rows
    assert part.first_tick == kept[0]
    assert part.tick_begin_s.tolist() == whole.tick_begin_s[kept].tolist()
    assert np.array_equal(part.state_matrix(), run.states()[np.ix_(kept, rows)])
    for index, row in enumerate(rows):
        assert part.staleness_of(index).tolist() == run.staleness()[kept, row].tolist()
    for call in part.calls:
        assert set(call.env_ids.tolist()) <= set(rows)
        assert call.end_s >= from_s
        assert call.begin_s <= to_s
    num_calls = sum(
        bool(set(call.env_ids.tolist()) & set(rows))
        and call.end_s >= from_s
        and call.begin_s <= to_s
        for call in whole.calls
    )
    assert len(part.calls) == num_calls
    for episode in part.episodes:
        assert episode.env_id in rows
        assert episode.end_tick >= 0
        assert episode.begin_tick < len(kept)
    again = crop(part)
    assert np.array_equal(again.state_matrix(), part.state_matrix())
    assert repr(summarize(again)) == repr(summarize(part))


def trace(tmp_path):
    ticks = [(100 * t, 100 * t + 90, all_active(4), None, None) for t in range(10)]
    run = Run(4, ticks, [([0, 3], 90, 90, 100, "plan", None)], [(2, 5, 1, 7, 1.0, None)])
    run.write(tmp_path / "run.jsonl")
    return read_timeline(tmp_path / "run.jsonl")


def test_episodes_and_calls_keep_their_place(tmp_path):
    part = crop(trace(tmp_path), rows=slice(2, 4), from_s=200e-6)
    assert (part.first_tick, part.num_ticks) == (2, 8)
    (episode,) = part.episodes
    assert (episode.env_id, episode.begin_tick, episode.end_tick) == (2, -1, 5)
    assert part.calls == ()
    (call,) = crop(trace(tmp_path), rows=slice(2, 4)).calls
    assert call.env_ids.tolist() == [3]


@pytest.mark.parametrize("rows", [slice(4, 9), slice(2, 2), slice(0, 4, -1), slice(3, 0, -1)])
def test_no_rows(tmp_path, rows):
    with pytest.raises(TimelineError, match="rows 0 to 3"):
        crop(trace(tmp_path), rows=rows)


def test_no_time(tmp_path):
    with pytest.raises(TimelineError, match=r"Nothing happened from 7 s to 8 s; .* to 0.001 s"):
        crop(trace(tmp_path), from_s=7.0, to_s=8.0)
