import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdstep.timeline import IntervalMaker, RowState, crop, read_timeline, summarize
from holdstep.timeline.intervals import union_s
from holdstep.timeline.lanes import lanes_of
from holdstep.timeline.raster import state_shares, to_rgb
from tests.timeline.runs import Run, all_active, rows_active, runs

SETTINGS = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ACTIVE, SUSPENDED, PARKED, QUEUED, INFERENCE, NO_TICK = RowState


def timeline_of(run, tmp_path):
    run.write(tmp_path / "run.jsonl")
    return read_timeline(tmp_path / "run.jsonl")


@SETTINGS
@given(run=runs(max_envs=6), data=st.data())
def test_a_row_does_at_each_moment_what_the_ticks_and_calls_say(run, data, tmp_path):
    timeline = timeline_of(run, tmp_path)
    maker = IntervalMaker(timeline)
    begin_s, end_s = timeline.span_s
    for row in range(run.num_envs):
        intervals = maker.of_row(row)
        edges = intervals.edges_s
        if end_s > begin_s:
            assert (edges[0], edges[-1]) == (begin_s, end_s)
            assert (np.diff(edges) > 0).all()
            assert (np.diff(intervals.states) != 0).all()
        # All times are whole microseconds, so that halves are no edge of anything.
        first, last = round(begin_s * 1e6), round(end_s * 1e6)
        if last <= first:
            continue
        for moment in data.draw(st.lists(st.integers(first, last - 1), max_size=25)):
            index = np.searchsorted(edges, (moment + 0.5) * 1e-6, side="right") - 1
            assert intervals.states[index] == run.state_at(row, moment + 0.5), (row, moment)


def test_a_gap_as_long_as_the_median_tick_is_short_whatever_rounding_does(tmp_path):
    suspended = rows_active(1)
    times = [(-185, -185), (-185, -185), (-145, -143), (-142, -140)]  # median 1, last gap 1
    run = Run(1, [(begin, end, suspended, None, np.array([-1])) for begin, end in times])
    states = IntervalMaker(timeline_of(run, tmp_path)).of_row(0).states
    assert states.tolist() == [NO_TICK, SUSPENDED]


@SETTINGS
@given(run=runs(max_envs=6), num_columns=st.integers(1, 40), max_lines=st.integers(1, 8))
def test_pixels_are_exact_averages(run, num_columns, max_lines, tmp_path):
    timeline = timeline_of(run, tmp_path)
    begin_s, end_s = timeline.span_s
    if end_s <= begin_s:
        return
    shares = state_shares(timeline, num_columns=num_columns, max_lines=max_lines)
    lines = min(max_lines, run.num_envs)
    assert shares.shape == (lines, num_columns, 6)
    assert np.allclose(shares.sum(axis=2), 1.0, atol=1e-4)
    maker, expected = IntervalMaker(timeline), np.zeros(6)
    for row in range(run.num_envs):
        for interval in maker.of_row(row).as_list():
            # Lines hold unlike numbers of rows, so compare the first one only.
            if row * lines // run.num_envs == 0:
                expected[interval.state] += interval.end_s - interval.begin_s
    rows_in_line = sum(row * lines // run.num_envs == 0 for row in range(run.num_envs))
    assert np.allclose(
        shares[0].mean(axis=0), expected / (end_s - begin_s) / rows_in_line, atol=1e-4
    )
    colors = to_rgb(shares)
    assert colors.min() >= 0
    assert colors.max() <= 1


def test_a_pixel_shows_what_was_shorter_than_it(tmp_path):
    """100 ticks in 2 columns: a row suspended in 10 of the first 50 is a fifth orange there."""
    ticks = [(t, t + 1, rows_active(1, *([] if 20 <= t < 30 else [0])), None, None) for t in
             range(100)]  # fmt: skip
    shares = state_shares(timeline_of(Run(1, ticks), tmp_path), num_columns=2, max_lines=9)
    assert shares[0, :, SUSPENDED].tolist() == pytest.approx([0.2, 0.0])
    assert shares[0, :, ACTIVE].tolist() == pytest.approx([0.8, 1.0])


def test_waiting_for_a_call_and_for_the_batch(tmp_path):
    """Row 0 waits for its call between the ticks, row 1 for the batch, row 2 is parked."""
    parked = rows_active(3, 2)
    ticks = [(0, 100, rows_active(3, 0, 1), parked, None),
             (1000, 1100, rows_active(3, 0, 1), parked, None)]  # fmt: skip
    timeline = timeline_of(Run(3, ticks, [([0], 200, 300, 900, "inference", None)]), tmp_path)
    maker = IntervalMaker(timeline)
    states = [[i.state for i in maker.of_row(row).as_list()] for row in range(3)]
    assert states[0] == [ACTIVE, NO_TICK, QUEUED, INFERENCE, NO_TICK, ACTIVE]
    assert states[1] == [ACTIVE, NO_TICK, ACTIVE]
    assert states[2] == [PARKED]
    edges = maker.of_row(0).edges_s * 1e6
    assert edges.round(6).tolist() == [0, 100, 200, 300, 900, 1000, 1100]


def test_short_gaps_do_not_cut_intervals(tmp_path):
    ticks = [(110 * t, 110 * t + 100, all_active(1), None, None) for t in range(50)]
    ticks += [(6000 + 110 * t, 6100 + 110 * t, all_active(1), None, None) for t in range(50)]
    row = IntervalMaker(timeline_of(Run(1, ticks), tmp_path)).of_row(0)
    assert [interval.state for interval in row.as_list()] == [ACTIVE, NO_TICK, ACTIVE]
    assert row.edges_s[1] == pytest.approx((49 * 110 + 100) * 1e-6)


def test_an_active_row_is_active_while_a_call_for_it_runs(tmp_path):
    """Prefetching: the row goes on while its next chunk is inferred."""
    ticks = [(100 * t, 100 * t + 90, all_active(1), None, None) for t in range(5)]
    timeline = timeline_of(Run(1, ticks, [([0], 110, 110, 390, "inference", None)]), tmp_path)
    assert [i.state for i in IntervalMaker(timeline).of_row(0).as_list()] == [ACTIVE]
    assert timeline.calls[0].end_s == pytest.approx(390e-6)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=8))
def test_union(stretches):
    covered = {moment for begin, length in stretches for moment in range(begin, begin + length)}
    begins = np.array([float(begin) for begin, _ in stretches])
    ends = np.array([float(begin + length) for begin, length in stretches])
    assert union_s(begins, ends) == len(covered)


@SETTINGS
@given(run=runs(max_envs=4))
def test_calls_in_one_lane_do_not_overlap(run, tmp_path):
    calls = timeline_of(run, tmp_path).calls
    lanes = lanes_of(calls)
    for lane in set(lanes):
        mine = [call for call, of in zip(calls, lanes, strict=True) if of == lane]
        assert all(a.end_s <= b.begin_s for a, b in itertools.pairwise(mine))
    # No more lanes than calls that run at once.
    at_once = [
        sum(c is call or c.begin_s <= call.begin_s < c.end_s for c in calls) for call in calls
    ]
    assert max(lanes, default=-1) + 1 <= max(at_once, default=0)


def test_the_numbers_of_a_small_run(tmp_path):
    """Two rows; 4 ticks of 10 ms; a call of 20 ms, 10 ms of it beside a tick; 5 ms of nothing."""
    none = rows_active(2)
    ticks = [
        (0, 10_000, all_active(2), none, np.array([0, 0])),
        (30_000, 40_000, rows_active(2, 0), none, np.array([1, 9])),
        (40_000, 50_000, rows_active(2, 0), none, np.array([2, 9])),
        (55_000, 65_000, rows_active(2, 0), rows_active(2, 1), None),
    ]
    calls = [([0, 1], 12_000, 15_000, 35_000, "inference", None), ([1], 20_000, 30_000, 30_000,
             "inference", "boom")]  # fmt: skip
    episodes = [(0, 0, 0, 2, 3.0, True), (1, 0, 0, 0, float("nan"), False)]
    summary = summarize(timeline_of(Run(2, ticks, calls, episodes), tmp_path))
    assert summary.duration_s == pytest.approx(0.065)
    assert (summary.num_envs, summary.num_ticks, summary.num_useful_steps) == (2, 4, 5)
    assert summary.useful_steps_per_s == pytest.approx(5 / 0.065)
    assert summary.suspended_share == pytest.approx(2 / 7)
    assert summary.parked_share == pytest.approx(1 / 8)
    assert summary.tick_share == pytest.approx(40 / 65)
    assert summary.inference_share == pytest.approx(20 / 65)
    assert summary.idle_share == pytest.approx(10 / 65)
    assert (summary.num_calls, summary.num_failed_calls) == (2, 1)
    assert summary.mean_rows_per_call == 1.5
    assert summary.mean_call_s == pytest.approx(0.010)
    assert summary.mean_queue_s == pytest.approx(0.0065)
    assert summary.mean_staleness_ticks == pytest.approx(3 / 4)
    assert summary.max_staleness_ticks == 2
    assert (summary.num_episodes, summary.mean_return) == (2, 3.0)
    assert summary.success_rate == 0.5


def test_a_run_without_anything_has_numbers_too(tmp_path):
    timeline = timeline_of(Run(3, []), tmp_path)
    summary = summarize(timeline)
    assert (summary.duration_s, summary.num_ticks) == (0.0, 0)
    assert np.isnan(summary.useful_steps_per_s)
    assert timeline.state_matrix().shape == (0, 3)


def test_rows_of_a_part_get_their_own_calls(tmp_path):
    ticks = [(0, 10, rows_active(5), None, None), (40, 50, rows_active(5), None, None)]
    run = Run(5, ticks, [([4], 12, 12, 38, "inference", None), ([1], 0, 0, 5, "inference", None)])
    part = crop(timeline_of(run, tmp_path), rows=slice(3, 5))
    maker = IntervalMaker(part)
    assert INFERENCE not in maker.of_row(0).states
    assert INFERENCE in maker.of_row(1).states
