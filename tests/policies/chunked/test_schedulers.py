"""Whom each scheduler asks for, and when, by views that are made by hand."""

import numpy as np
import pytest

from holdstep.errors import ConfigError
from holdstep.policies import AnyTrigger, Cohort, Continuous, GlobalClock, Prefetch, Threshold
from holdstep.policies.chunked.ledger import RowsView
from holdstep.policies.chunked.schedulers.base import longest_waiting


def view(rows, *, tick=10, requests=0):
    """Rows as letters: R runs, I idle, W running but wanting, F in flight, P parked.

    ``(letter, ticks)`` for one that has waited so long.
    """
    letters = [row if isinstance(row, str) else row[0] for row in rows]
    ticks = [0 if isinstance(row, str) else row[1] for row in rows]
    mask = {letter: np.array([one == letter for one in letters]) for letter in "RIWFP"}
    has_none = mask["I"] | mask["F"]
    return RowsView(
        tick=tick,
        live_mask=~mask["P"],
        idle_mask=mask["I"],
        wanting_mask=mask["I"] | mask["W"],
        in_flight_mask=mask["F"],
        waited_ticks=np.where(has_none, ticks, -1),
        num_requests=requests,
    )


def chosen(scheduler, rows, **options):
    selected = scheduler.select(view(rows, **options))
    assert selected.dtype == np.int64
    return selected.tolist()


def waited(*ticks):
    return [("I", tick) for tick in ticks]


def test_what_a_view_says_of_all_rows():
    assert view("RIPW").num_live == 3
    assert not view("RIP").nothing_runs
    assert view("IFP").nothing_runs
    assert not view("IW").nothing_runs


@pytest.mark.parametrize(
    ("rows", "expected"), [("RRR", []), ("RIR", [1]), ("IPI", [0, 2]), ("III", [0, 1, 2])]
)
def test_any_trigger(rows, expected):
    assert chosen(AnyTrigger(), rows) == expected
    assert AnyTrigger.infers_all
    assert not AnyTrigger.holds_rows


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("RRR", []),
        ("RII", []),
        ("III", [0, 1, 2]),
        ("IPI", [0, 2]),
        ("IIF", []),
        ("RPP", []),
        ("IPP", [0]),
    ],
)
def test_cohort(rows, expected):
    assert chosen(Cohort(), rows) == expected


def test_a_global_clock_ticks_every_so_many_steps():
    clock = GlobalClock(period=3)
    clock.start(num_envs=3, execute=8)
    asked = [tick for tick in range(12) if chosen(clock, "RIR", tick=tick)]
    assert asked == [0, 3, 6, 9]
    clock = GlobalClock()
    clock.start(num_envs=3, execute=5)
    assert [tick for tick in range(12) if chosen(clock, "RIR", tick=tick)] == [0, 5, 10]


@pytest.mark.parametrize("seen", [range(9), range(4, 7), [0, 5, 6]])
def test_a_global_clock_goes_on_ticking_while_nobody_waits(seen):
    """Whether or not it is asked then."""
    clock = GlobalClock(period=3)
    clock.start(num_envs=2, execute=8)
    states = {4: "RI", 5: "RI", 6: "RI"}
    asked = [tick for tick in seen if chosen(clock, states.get(tick, "RR"), tick=tick)]
    assert asked == [6]


def test_a_global_clock_ticks_early_when_nothing_runs_and_counts_from_there():
    clock = GlobalClock(period=4)
    clock.start(num_envs=2, execute=8)
    assert chosen(clock, "RI", tick=1) == []
    assert chosen(clock, "II", tick=2) == [0, 1]
    assert [tick for tick in range(3, 12) if chosen(clock, "RI", tick=tick)] == [6, 10]


def test_a_global_clock_asks_again_within_its_tick():
    """After a failure: the next moment would be a whole period later."""
    clock = GlobalClock(period=4)
    clock.start(num_envs=2, execute=8)
    assert chosen(clock, "RI", tick=4) == [1]
    assert chosen(clock, "RR", tick=4) == []
    assert chosen(clock, "RI", tick=4) == [1]
    assert chosen(clock, "RI", tick=5) == []
    clock.start(num_envs=2, execute=8)  # a new run
    assert chosen(clock, "RI", tick=0) == [1]
    assert chosen(clock, "RI", tick=3) == []


@pytest.mark.parametrize(
    ("scheduler", "rows", "expected"),
    [
        (Threshold(2), "RRRI", []),
        (Threshold(2), "RIRI", [1, 3]),
        (Threshold(3), "RIRI", []),
        (Threshold(9), "RIII", []),
        (Threshold(9), "IIII", [0, 1, 2, 3]),
        (Threshold(3), "IPPI", [0, 3]),  # more than are live
        (Threshold(3), "IFFP", [0]),  # nobody else runs
        (Threshold(3, max_wait_ticks=4), ["R", ("I", 3), "R", "R"], []),
        (Threshold(3, max_wait_ticks=4), ["R", ("I", 4), ("I", 0), "R"], [1, 2]),
        (Threshold(3, max_wait_ticks=4), "RRRR", []),
        (Threshold(3, max_wait_ticks=4), ["R", ("F", 9), ("I", 0), "R"], []),
    ],
)
def test_threshold(scheduler, rows, expected):
    assert chosen(scheduler, rows) == expected


@pytest.mark.parametrize(
    ("scheduler", "rows", "requests", "expected"),
    [
        (Continuous(), "RRRR", 0, []),
        (Continuous(), "RRRI", 0, [3]),  # half of the half
        (Continuous(), ["R"] * 7 + ["I"], 0, []),
        (Continuous(), "RRRRRRII", 0, [6, 7]),
        (Continuous(), "IIIIIIII", 0, [0, 1, 2, 3]),
        (Continuous(), "RIIIIIII", 1, []),  # the policy is busy
        (Continuous(), "IPPPPPPP", 0, [0]),
        (Continuous(max_batch=2, min_batch=2), "RRRI", 0, []),
        (Continuous(max_batch=2, min_batch=2), "FFFI", 0, [3]),  # nobody else can run
        (Continuous(max_batch=3, min_batch=1), waited(1, 5, 2, 5, 9), 0, [1, 3, 4]),
        (Continuous(max_batch=2, min_batch=1), waited(1, 1, 1), 0, [0, 1]),
        (Continuous(min_batch=7), "RRRRII", 0, []),
        (Continuous(min_batch=7), "RRRIII", 0, [3, 4, 5]),  # more than are ever asked for
    ],
)
def test_continuous(scheduler, rows, requests, expected):
    assert chosen(scheduler, rows, requests=requests) == expected


def test_those_that_waited_longest_come_first_and_sorted():
    rows = view(waited(3, 9, 1, 9, 4))
    assert longest_waiting(rows.idle_mask, rows, 1).tolist() == [1]
    assert longest_waiting(rows.idle_mask, rows, 3).tolist() == [1, 3, 4]
    assert longest_waiting(rows.idle_mask, rows, 9).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("scheduler", "rows", "requests", "expected"),
    [
        (Prefetch(2), "RRWW", 0, []),
        (Prefetch(2), "WWWI", 0, [0, 1, 2, 3]),
        (Prefetch(2), "WWPI", 0, [0, 1, 3]),
        (Prefetch(2), "WWWW", 1, []),
        (Prefetch(2), "IIFF", 0, [0, 1]),  # nobody runs
        (Prefetch(2, min_batch=2), "RRWI", 0, [2, 3]),
        (Prefetch(2, min_batch=2), "RRRI", 0, []),
        (Prefetch(2, min_batch=9), "WWWW", 0, [0, 1, 2, 3]),
        (Prefetch(2, min_batch=1), "RRRR", 0, []),
    ],
)
def test_prefetch(scheduler, rows, requests, expected):
    assert chosen(scheduler, rows, requests=requests) == expected


@pytest.mark.parametrize(
    ("options", "handover", "determinism"),
    [
        ({}, (False, False, False), "delayed"),
        ({"mode": "discard"}, (True, False, False), "delayed"),
        ({"mode": "rtc"}, (True, False, True), "delayed"),
        ({"mode": "discard", "switch": "arrival"}, (True, True, False), "timing"),
        ({"mode": "rtc", "switch": "arrival"}, (True, True, True), "timing"),
    ],
)
def test_what_prefetching_does_with_chunks(options, handover, determinism):
    scheduler = Prefetch(3, **options)
    rule = scheduler.handover
    assert (rule.skip_elapsed, rule.on_arrival, rule.with_prefix) == handover
    assert rule.lead == scheduler.max_lead == 3
    assert scheduler.max_skipped == (3 if rule.skip_elapsed else 0)
    assert scheduler.determinism == determinism
    assert scheduler.overlaps


@pytest.mark.parametrize(
    ("scheduler", "given", "message"),
    [
        (
            Prefetch(4),
            {"execute": 4},
            r"only 4 actions of a chunk are executed, so m must be small",
        ),
        (
            Prefetch(4, mode="discard"),
            {"execute": 5},
            r"leaves out the first 4 of 8 actions, so at most 4 can be executed, not 5: execute=4",
        ),
        (Prefetch(2, mode="rtc"), {"execute": 4}, r"uses_prefix=False. Use mode='discard'"),
    ],
)
def test_what_prefetching_refuses(scheduler, given, message):
    given = {"chunk_length": 8, "uses_prefix": False} | given
    with pytest.raises(ConfigError, match=message):
        scheduler.check(**given)
    Prefetch(2, mode="rtc").check(execute=6, chunk_length=8, uses_prefix=True)
    Prefetch(7).check(execute=8, chunk_length=8, uses_prefix=False)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda value: GlobalClock(period=value), "period"),
        (lambda value: Threshold(value), "k"),
        (lambda value: Threshold(2, max_wait_ticks=value), "max_wait_ticks"),
        (lambda value: Continuous(max_batch=value), "max_batch"),
        (lambda value: Continuous(min_batch=value), "min_batch"),
        (lambda value: Prefetch(value), "m"),
        (lambda value: Prefetch(2, min_batch=value), "min_batch"),
    ],
)
def test_arguments_that_are_no_positive_integers(make, name, value):
    with pytest.raises(ConfigError, match=rf"{name} must be .*integer >= 1, got"):
        make(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Threshold(None), "k must be"),
        (lambda: Prefetch(None), "m must be"),
        (lambda: Continuous(max_batch=2, min_batch=3), r"min_batch \(3\) must not be larger"),
        (lambda: Prefetch(2, mode="drop"), "mode must be one of 'append', 'discard', 'rtc'"),
        (lambda: Prefetch(2, switch="now"), "switch must be one of 'end', 'arrival'"),
        (lambda: Prefetch(2, switch="arrival"), "can't take over on arrival"),
    ],
)
def test_arguments_that_do_not_go_together(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Cohort(), "Cohort()"),
        (lambda: Threshold(3), "Threshold(k=3, max_wait_ticks=None)"),
        (lambda: GlobalClock(), "GlobalClock(period=None)"),
    ],
)
def test_they_say_what_they_are(make, text):
    assert make().explain() == text
