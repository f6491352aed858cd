import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdstep.errors import ConfigError
from holdstep.wrappers.pipeline.pacing import Adaptive, Deadline, Immediate, Pacing


def seeded(pacing, *, period_s=0.02, costs_s=(0.01,), count=2):
    """A pacer after so many submissions at a fixed rate, and computations of these costs."""
    pacer = pacing.pacer()
    for index in range(count):
        pacer.submitted(100.0 + index * period_s)
    for cost_s in costs_s:
        pacer.finished(100.0, 100.0 + cost_s)
    return pacer, 100.0 + (count - 1) * period_s


def test_fields_and_defaults_are_those_of_isaacteleop():
    assert dataclasses.asdict(Deadline()) == {
        "safety_margin_s": 0.015,
        "spike_guard_percentile": 0.90,
        "spike_guard_window": 60,
        "frame_period_adaptation": 0.2,
        "compute_cost_adaptation": 0.25,
        "startup_frame_period_s": 0.022,
        "startup_compute_cost_s": 0.005,
    }


@given(
    st.lists(st.floats(0, 0.1), min_size=1, max_size=30),
    st.lists(st.floats(0, 0.1), min_size=1, max_size=80),
    st.floats(0, 0.02),
    st.tuples(*[st.floats(0.05, 1)] * 3),
    st.integers(1, 70),
)
def test_begins_are_those_of_isaacteleop(periods_s, costs_s, margin_s, shares, window):
    """Its own config and its own worker's bookkeeping, fed with the same times."""
    manager = pytest.importorskip(
        "isaacteleop.teleop_session_manager", reason="the extra 'teleop' is not installed"
    )
    runner_module = pytest.importorskip("isaacteleop.teleop_session_manager.async_retarget_runner")
    options = {
        "safety_margin_s": margin_s,
        "spike_guard_percentile": shares[0],
        "spike_guard_window": window,
        "frame_period_adaptation": shares[1],
        "compute_cost_adaptation": shares[2],
    }
    theirs = manager.DeadlinePacingConfig(**options)
    runner = runner_module.AsyncRetargetRunner(
        None, manager.RetargetingExecutionConfig(mode="pipelined", pacing=theirs)
    )
    ours = Deadline(**options).pacer()
    now_s = 50.0
    for period_s in (0.0, *periods_s):
        now_s += period_s
        ours.submitted(now_s)
        runner._record_submission_locked(now_s)
    for cost_s in costs_s:
        ours.finished(0.0, cost_s)
        runner._record_compute_duration_locked(cost_s)
    delay_s = theirs.compute_delay_s(
        submitted_time_s=now_s,
        now_s=now_s,
        submission_count=runner._submission_count,
        submit_period_s=runner._submit_period_s,
        compute_duration_s=runner._compute_duration_s,
        compute_duration_samples=runner._compute_duration_samples,
    )
    assert ours.start_time_s(now_s) - now_s == pytest.approx(delay_s, abs=1e-9)


def test_work_begins_a_margin_before_the_deadline():
    pacing = Deadline(
        safety_margin_s=0.004,
        frame_period_adaptation=1.0,
        compute_cost_adaptation=1.0,
        startup_frame_period_s=1.0,
    )
    pacer, now_s = seeded(pacing, period_s=0.03, costs_s=(0.01,))
    assert pacer.start_time_s(now_s) == pytest.approx(now_s + 0.03 - 0.01 - 0.004)
    assert pacer.wait_s(now_s) == 0.0


def test_averages_move_by_their_weights():
    pacing = Deadline(safety_margin_s=0.0, spike_guard_percentile=0.01, spike_guard_window=1)
    pacer, now_s = seeded(pacing, period_s=0.032, costs_s=(0.009, 0.001))
    period_s = 0.8 * 0.022 + 0.2 * 0.032
    cost_s = 0.75 * (0.75 * 0.005 + 0.25 * 0.009) + 0.25 * 0.001
    assert pacer.start_time_s(now_s) == pytest.approx(now_s + period_s - cost_s)


def test_startup_guesses_count_before_anything_is_known():
    pacing = Deadline(safety_margin_s=0.0, startup_frame_period_s=0.08, startup_compute_cost_s=0.02)
    pacer, now_s = seeded(pacing, period_s=0.08, costs_s=())
    assert pacer.start_time_s(now_s) == pytest.approx(now_s + 0.06)


def test_the_first_request_is_begun_at_once():
    pacer, now_s = seeded(Deadline(safety_margin_s=0.0), count=1)
    assert pacer.start_time_s(now_s) == now_s


def test_a_percentile_of_the_latest_costs_guards_against_spikes():
    options = {"safety_margin_s": 0.0, "frame_period_adaptation": 1.0, "spike_guard_window": 10}
    costs_s = (0.001,) * 8 + (0.012,) * 2
    guarded, now_s = seeded(Deadline(**options), period_s=0.1, costs_s=costs_s)
    assert guarded.start_time_s(now_s) == pytest.approx(now_s + 0.1 - 0.012)
    for _ in range(9):
        guarded.finished(0.0, 0.001)  # one of the spikes is left: a tenth
    assert guarded.start_time_s(now_s) > now_s + 0.1 - 0.005


def test_a_margin_beyond_the_period_means_at_once():
    pacer, now_s = seeded(Deadline(safety_margin_s=0.025))
    assert pacer.start_time_s(now_s) == now_s


@pytest.mark.parametrize("pacing", [Deadline(safety_margin_s=0.0), Adaptive()])
def test_steps_that_wait_for_their_own_frames_are_not_made_longer(pacing):
    """As with a lossless source; a delay that follows the period would make that grow for ever."""
    pacer, now_s, begun_s = pacing.pacer(), 50.0, []
    for step in range(100):
        pacer.submitted(now_s)
        begun_s.append(max(pacer.start_time_s(now_s) - now_s, 0.0))
        begin_s = now_s + begun_s[-1]
        pacer.finished(begin_s, begin_s + 0.005)
        now_s = begin_s + 0.005
        pacer.polled(now_s, 0)
        now_s += 0.020
        if step == 0:
            continue
        assert begun_s[-1] < 0.025 if step < 2 else begun_s[-1] == 0.0
    for _ in range(20):  # the loop takes what is there again
        now_s += 0.025
        pacer.submitted(now_s)
        pacer.polled(now_s, 1)
        begin_s = pacer.start_time_s(now_s)
        pacer.finished(begin_s, begin_s + 0.005)
    assert begin_s > now_s + 0.01


def test_misses_change_nothing():
    pacer, now_s = seeded(Deadline())
    before_s = pacer.start_time_s(now_s)
    pacer.polled(now_s, 5)
    assert pacer.start_time_s(now_s) == before_s


@given(
    st.lists(st.floats(0, 0.1), min_size=1, max_size=80),
    st.lists(st.floats(0, 0.1), max_size=80),
    st.floats(0, 0.03),
)
def test_never_before_the_submission_nor_after_the_predicted_next_one(periods_s, costs_s, margin_s):
    pacer = Deadline(safety_margin_s=margin_s).pacer()
    now_s = 50.0
    for period_s in periods_s:
        now_s += period_s
        pacer.submitted(now_s)
    for cost_s in costs_s:
        pacer.finished(0.0, cost_s)
    assert now_s <= pacer.start_time_s(now_s) <= now_s + max(0.022, *periods_s)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"safety_margin_s": -0.001}, "safety_margin_s must be a number at least 0"),
        ({"safety_margin_s": float("nan")}, "safety_margin_s"),
        ({"spike_guard_percentile": 0.0}, "above 0 and at most 1, got 0.0"),
        ({"spike_guard_percentile": 1.1}, "spike_guard_percentile"),
        ({"spike_guard_window": 0}, "spike_guard_window must be an integer >= 1, got 0"),
        ({"spike_guard_window": 2.0}, "spike_guard_window"),
        ({"frame_period_adaptation": 0}, "frame_period_adaptation"),
        ({"compute_cost_adaptation": True}, "compute_cost_adaptation"),
        ({"startup_frame_period_s": 0.0}, "startup_frame_period_s"),
        ({"startup_frame_period_s": float("inf")}, "startup_frame_period_s"),
        ({"startup_compute_cost_s": -1}, "startup_compute_cost_s"),
        ({"startup_compute_cost_s": "5"}, "startup_compute_cost_s"),
    ],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(ConfigError, match=named):
        Deadline(**options)


def test_immediate_begins_at_once_and_never_waits():
    pacer, now_s = seeded(Immediate())
    pacer.polled(now_s, 9)
    assert pacer.start_time_s(now_s) == now_s
    assert pacer.wait_s(now_s) == 0.0


@pytest.mark.parametrize("pacing", [Immediate(), Deadline()])
def test_options_are_values(pacing):
    assert isinstance(pacing, Pacing)
    assert pacing == type(pacing)()
    assert hash(pacing) == hash(type(pacing)())
    assert pacing.pacer() is not pacing.pacer()
