"""Costs: fitted lines, and what of the measurements counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdstep.policies.chunked.costs import CostMeter, Costs, Line
from tests.policies.chunked.world import costs_of


@given(
    st.floats(0, 1),
    st.floats(0, 0.1),
    st.lists(st.integers(1, 256), min_size=2, max_size=40).filter(lambda x: len(set(x)) > 1),
)
def test_an_exact_line_is_found(fixed, per_row, rows):
    line = Line.fit([(count, fixed + per_row * count) for count in rows])
    for count in (1, 64, 256):
        assert line(count) == pytest.approx(fixed + per_row * count, rel=1e-4, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 10)), min_size=1, max_size=30))
def test_neither_part_is_ever_negative(samples):
    line = Line.fit(samples)
    assert line.fixed >= 0
    assert line.per_row >= 0


def test_one_slow_sample_bends_nothing():
    samples = [(rows, 0.1 + 0.01 * rows) for rows in (4, 16) for _ in range(5)]
    assert Line.fit([*samples, (4, 100.0)])(16) == pytest.approx(0.26)


def test_sizes_that_were_seen_often_count_more():
    samples = [(10, 1.0)] * 98 + [(20, 2.0)] * 98 + [(30, 9.0)]
    assert Line.fit(samples)(10) == pytest.approx(1.0, rel=0.05)


def test_what_would_fall_with_the_rows_is_constant_and_what_would_begin_below_zero_begins_there():
    assert Line.fit([(1, 2.0), (3, 1.0)]) == Line(fixed=1.5, per_row=0.0)
    assert Line.fit([(5, 0.7)]) == Line(fixed=0.7, per_row=0.0)
    steep = Line.fit([(10, 0.1), (20, 1.0)])
    assert steep.fixed == 0.0
    assert 0.1 / 10 < steep.per_row < 1.0 / 20


def test_the_bound_by_hand():
    """64 rows times 16 steps, in 16 steps of 40 ms and one inference of 180 + 2 * 64 ms."""
    costs = costs_of((40, 0), (180, 2))
    assert costs.synchronous_bound(64, 16) == pytest.approx(64 * 16 / (16 * 0.04 + 0.308))


def test_near_is_in_everything_that_is_compared():
    one = costs_of((10, 0.1), (100, 2))
    assert one.is_near(one, rows=64)
    assert one.is_near(costs_of((10.2, 0.1), (101, 2.05)), rows=64)
    for other in (
        costs_of((12, 0.1), (100, 2)),
        costs_of((10, 0.2), (100, 2)),
        costs_of((10, 0.1), (130, 2)),
        costs_of((10, 0.1), (100, 2.5)),
        costs_of((10, 0.1), (100, 2), slowdown=1.1),
        costs_of((10, 0.1), (228, 0)),  # the same for all rows, not for a quarter of them
    ):
        assert not one.is_near(other, rows=64)
        assert not other.is_near(one, rows=64)
        assert one.is_near(other, 0.5, rows=64)


def filled(**options):
    meter = CostMeter(warm_up_steps=0, warm_up_inferences=0, **options)
    meter.inference(4, 0.2)
    return meter


def test_nothing_is_known_before_there_is_something_of_each_kind():
    meter = CostMeter(warm_up_steps=1, warm_up_inferences=1)
    assert meter.costs() is None
    meter.step(4, 9.0, overlapped=False)
    meter.step(4, 0.01, overlapped=False)
    assert meter.costs() is None
    meter.inference(4, 9.0)
    assert meter.costs() is None
    meter.inference(4, 0.2)
    costs = meter.costs()
    step, infer = Line(fixed=0.01, per_row=0.0), Line(fixed=0.2, per_row=0.0)
    assert costs == Costs(step=step, beside=step, infer=infer)


def test_steps_beside_an_inference_are_another_thing():
    meter = filled()
    for _ in range(5):
        meter.step(4, 0.010, overlapped=False)
        meter.step(4, 0.013, overlapped=True)
    assert meter.costs().step(4) == pytest.approx(0.010)
    assert meter.costs().beside(4) == pytest.approx(0.013)


def test_where_all_steps_overlap_there_is_nothing_to_compare_with():
    meter = filled()
    meter.step(4, 0.013, overlapped=True)
    assert meter.costs().step(4) == pytest.approx(0.013)
    assert meter.costs().beside(4) == pytest.approx(0.013)


def test_the_latest_measurements_count():
    meter = filled()
    for duration_s, times in ((0.01, 1000), (0.05, 300)):
        for _ in range(times):
            meter.step(4, duration_s, overlapped=False)
    for duration_s, times in ((0.2, 100), (0.7, 40)):
        for _ in range(times):
            meter.inference(4, duration_s)
    assert meter.costs().step(4) == pytest.approx(0.05)
    assert meter.costs().infer(4) == pytest.approx(0.7)


def test_batch_sizes_that_are_remembered():
    meter = filled()
    assert meter.num_batch_sizes == 1
    meter.inference(2, 0.1)
    assert meter.num_batch_sizes == 2
    for _ in range(64):
        meter.inference(4, 0.2)
    assert meter.num_batch_sizes == 1


def test_how_often_episodes_end():
    meter, rng = filled(), np.random.default_rng(0)
    for _ in range(2000):
        meter.step(8, 0.01, overlapped=False)
        meter.episodes_end(int((rng.random(8) < 1 / 150).sum()))
    assert meter.costs().ending_probability == pytest.approx(1 / 150, rel=0.15)


def test_the_first_steps_beside_an_inference_may_be_left_out():
    meter = CostMeter(warm_up_steps=0, warm_up_inferences=0, warm_up_overlapped=2)
    meter.inference(4, 0.2)
    for duration_s in (9.0, 9.0, 0.02):
        meter.step(4, duration_s, overlapped=True)
        meter.step(4, 0.01, overlapped=False)
    assert meter.costs().beside(4) == pytest.approx(0.02)
