"""The adaptive scheduler in simulated worlds whose costs it has to find out."""

import itertools
import re

import numpy as np
import pytest

from holdstep.errors import ConfigError
from holdstep.policies import Adaptive, Cohort, Continuous, GlobalClock, Prefetch, Threshold
from tests.policies.chunked.world import World, costs_of

FLAT, PER_ROW, MIXED = (200, 0), (50, 2), (180, 2)
CONSTANT, CHEAPER = (20, 0), (8, 0.15)
SETTINGS = [
    (*sizes, infer, (CONSTANT, CHEAPER)[index % 2])
    for index, (*sizes, infer) in enumerate(
        itertools.product((16, 64), (16, 32), (FLAT, PER_ROW, MIXED))
    )
]


def fixed_schedulers(num_envs):
    return [
        Cohort(),
        GlobalClock(),
        Threshold(num_envs // 2),
        Threshold(num_envs // 4),
        Continuous(),
        Continuous(min_batch=1),
    ]


def adapted(costs, num_envs=16, execute=16, *, chunks=80, noise=0.05, **options):
    world = World(costs, num_envs, execute, noise=noise)
    scheduler = Adaptive(**options)
    world.run(scheduler, chunks)
    return world, scheduler


@pytest.mark.parametrize(("num_envs", "execute", "infer", "step"), SETTINGS)
def test_it_is_within_five_percent_of_the_best_fixed_scheduler(num_envs, execute, infer, step):
    costs = costs_of(step, infer)
    rates = []
    for scheduler in fixed_schedulers(num_envs):
        world = World(costs, num_envs, execute, noise=0.05)
        world.run(scheduler, 8)
        rates.append(world.run(scheduler, 25))
    world, scheduler = adapted(costs, num_envs, execute, chunks=60)
    assert world.run(scheduler, 25) >= 0.95 * max(rates), scheduler.explain()


def test_it_leaves_cohort_where_that_is_worth_it_and_only_there():
    _, scheduler = adapted(costs_of((8, 0.15), (20, 8)))
    assert isinstance(scheduler.choice, Continuous)
    _, scheduler = adapted(costs_of((20, 0), (200, 0)))
    assert isinstance(scheduler.choice, Cohort)


@pytest.mark.parametrize("infer", [FLAT, MIXED, (20, 3)])
def test_it_stays_with_cohort_where_inference_slows_steps_down(infer):
    world, scheduler = adapted(costs_of((8, 0.15), infer, slowdown=1.6))
    assert world.choices == ["Cohort"]
    assert re.search(r"of 8 rows [89]\.\d ms, and 1[3-6]\.\d ms beside", scheduler.explain())


def test_time_between_steps_is_not_the_schedulers():
    """Such as that of a loop that writes videos now and then."""
    world, scheduler = adapted(costs_of((8, 0.15), (20, 8)), chunks=20)
    for _ in range(60):
        world.run(scheduler, 1)
        world.now_s += 5 * world.rng.random()
        world.stepped_at_s = world.now_s
    assert isinstance(scheduler.choice, Continuous)


class Deceptive(World):
    """Whatever is asked for in small batches holds everything up, and no measurement shows it."""

    def _ask(self, scheduler):
        before = self.ticket
        super()._ask(scheduler)
        if isinstance(scheduler.choice, Continuous):
            self.now_s += 0.3 * (self.ticket - before)


def test_a_promise_that_is_not_kept_is_taken_back_and_not_believed_again():
    world = Deceptive(costs_of((8, 0.15), (20, 8)), 16, 16, noise=0.02)
    scheduler = Adaptive()
    tried = []
    for _ in range(300):
        world.run(scheduler, 1)
        if not tried or tried[-1] != scheduler._choice:
            tried.append(scheduler._choice)
    others = [name for name in tried if name != "Cohort"]
    assert len(others) == 1  # it did try, and does not believe the others of its kind either
    assert tried[-1] == "Cohort"
    had, expected = map(int, re.findall(r"(\d+) (?:env-steps|are expected)", scheduler.explain()))
    assert expected < had


@pytest.mark.parametrize(
    ("before", "after", "expected"), [(FLAT, (20, 8), Continuous), ((20, 8), FLAT, Cohort)]
)
def test_costs_that_change_are_followed(before, after, expected):
    world, scheduler = adapted(costs_of(CHEAPER, before))
    assert not isinstance(scheduler.choice, expected)
    world.costs = costs_of(CHEAPER, after)
    world.run(scheduler, 150)
    assert isinstance(scheduler.choice, expected)


def test_a_step_that_becomes_cheaper_with_fewer_rows_is_noticed():
    world, scheduler = adapted(costs_of((40, 0), (180, 2)), 64)
    world.costs = costs_of((1, 0.6), (180, 2))
    world.run(scheduler, 150)
    assert isinstance(scheduler.choice, Continuous)


@pytest.mark.parametrize("chunks", [40, 200])
def test_what_it_explains_is_true(chunks):
    """Also after a long time in which every inference had the same batch."""
    _, scheduler = adapted(costs_of(CHEAPER, MIXED), chunks=chunks)
    found = re.fullmatch(
        r"(\w+): (\d+) env-steps/s, (\d+) are expected of others at most\. A step of 16 rows takes "
        r"(\S+) ms, of 8 rows (\S+) ms, and (\S+) ms beside an inference; inference of b rows "
        r"(\S+) \+ (\S+) b ms",
        scheduler.explain(),
    )
    assert found, scheduler.explain()
    name, rate, others, *numbers = found.groups()
    step, step_of_half, beside, fixed, per_row = map(float, numbers)
    assert name == type(scheduler.choice).__name__ == "Cohort"
    assert float(others) < 1.05 * float(rate)
    assert step == pytest.approx(8 + 16 * 0.15, rel=0.05)
    assert step_of_half == pytest.approx(8 + 8 * 0.15, rel=0.15)
    assert fixed + 16 * per_row == pytest.approx(212, rel=0.05)
    assert fixed + 4 * per_row == pytest.approx(188, rel=0.1)
    assert beside == pytest.approx(8 + 8 * 0.15, rel=0.15)


def test_before_it_knows_anything_it_says_so():
    assert Adaptive().explain() == "Cohort: nothing is measured yet"


def test_prefetching_is_a_choice_only_when_it_is_given():
    costs = costs_of(CONSTANT, FLAT)
    world, _ = adapted(costs)
    assert "Prefetch" not in world.choices
    world, scheduler = adapted(costs, prefetch=Prefetch(8))
    assert isinstance(scheduler.choice, Prefetch)
    assert scheduler.handover.lead == scheduler.max_lead == 8
    assert scheduler.max_skipped == 0
    assert Adaptive(prefetch=Prefetch(3, mode="discard")).max_skipped == 3
    assert Adaptive().max_lead == 0


def test_a_start_forgets_everything():
    world, scheduler = adapted(costs_of((8, 0.15), (20, 8)))
    assert not isinstance(scheduler.choice, Cohort)
    scheduler.start(num_envs=16, execute=16)
    assert isinstance(scheduler.choice, Cohort)
    assert scheduler.explain() == "Cohort: nothing is measured yet"
    del world


@pytest.mark.parametrize("num_envs", [1, 2, 3, 4, 5])
def test_few_rows(num_envs):
    world, scheduler = adapted(costs_of(CHEAPER, (20, 8)), num_envs, 8)
    cohort = World(costs_of(CHEAPER, (20, 8)), num_envs, 8, noise=0.05)
    assert world.run(scheduler, 30) > 0.93 * cohort.run(Cohort(), 30)


def test_the_first_cohorts_are_inferred_in_two_parts_and_one_every_now_and_then():
    class Watched(World):
        batches: list

        def _ask(self, scheduler):
            before = self.ticket
            super()._ask(scheduler)
            self.batches += [len(rows) for _, ticket, rows, *_ in self.pending if ticket >= before]

    world = Watched(costs_of(CONSTANT, FLAT, episode=0), 16, 4)
    world.batches = []
    world.run(Adaptive(), 300)
    split = [i for i, batch in enumerate(world.batches) if batch < 16]
    assert world.batches[0] == 16  # the first is no measure
    assert world.batches[1:3] == [4, 12]
    assert 8 <= len(split) <= 16
    assert split[-1] > 200


@pytest.mark.parametrize("value", [0.9, float("nan")])
def test_wrong_arguments(value):
    with pytest.raises(ConfigError, match=f"min_gain must be at least 1, got {value}"):
        Adaptive(min_gain=value)


@pytest.mark.parametrize("slowdown", [1.0, 1.3])
def test_it_never_stalls_among_parked_rows(slowdown):
    rng = np.random.default_rng(0)
    world = World(costs_of(CHEAPER, MIXED, slowdown=slowdown), 6, 8, noise=0.2)
    scheduler = Adaptive(prefetch=Prefetch(3))
    world.start(scheduler)
    for _ in range(300):
        live = rng.random(6) < 0.6
        live[rng.integers(6)] = True
        world.ledger.live_mask[:] = live
        for _ in range(5):
            world._tick(scheduler)  # asserts that somebody runs or is asked for
