"""Simulated runs against the published numbers, and against what can be said without simulating."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep.errors import ConfigError
from holdstep.policies import AnyTrigger, Cohort, Continuous, GlobalClock, Prefetch, Threshold
from holdstep.policies.chunked.simulation import simulate
from tests.policies.chunked.world import World, costs_of

BIG = costs_of((40, 0), (180, 2))  # of the issue: S = 40 ms, I = 180 + 2 b ms


def of_bound(scheduler, costs, *, num_envs=64, execute=16, chunks=30):
    run = simulate(
        scheduler,
        costs,
        num_envs=num_envs,
        execute=execute,
        num_ticks=chunks * execute,
        warm_up_ticks=20 * execute,
    )
    return run.env_steps_per_s / costs.synchronous_bound(num_envs, execute)


def test_the_setting_that_was_published():
    """N = 64, L = 16: any 186, subset 283, cohort 1028, prefetch 1513 env-steps/s, bound 1080."""
    bound = BIG.synchronous_bound(64, 16)
    assert bound == pytest.approx(1080, rel=0.005)
    assert bound * of_bound(AnyTrigger(), BIG) == pytest.approx(186, rel=0.05)
    assert bound * of_bound(Threshold(1), BIG) == pytest.approx(283, rel=0.06)
    assert bound * of_bound(Cohort(), BIG) == pytest.approx(1028, rel=0.02)
    assert bound * of_bound(Prefetch(12), BIG) == pytest.approx(1513, rel=0.06)


@pytest.mark.parametrize("infer", [(200, 0), (700, 0), (180, 2)])
@pytest.mark.parametrize("num_envs", [64, 256])
def test_shares_of_the_bound(infer, num_envs):
    costs = costs_of((10, 0), infer)
    any_row = of_bound(AnyTrigger(), costs, num_envs=num_envs, chunks=8)
    subset = of_bound(Threshold(1), costs, num_envs=num_envs, chunks=8)
    cohort = of_bound(Cohort(), costs, num_envs=num_envs, chunks=12)
    assert 0.07 < any_row < 0.24
    assert any_row <= subset < 0.3
    assert 0.93 < cohort < 1
    assert of_bound(GlobalClock(), costs, num_envs=num_envs, chunks=12) == pytest.approx(
        cohort, rel=0.02
    )


def test_from_half_of_the_rows_on_a_threshold_is_the_cohort():
    cohort = of_bound(Cohort(), BIG)
    for k in (32, 48, 64):
        assert of_bound(Threshold(k), BIG) == pytest.approx(cohort, rel=0.01)
    assert of_bound(Threshold(8), BIG) < 0.85 * cohort
    assert of_bound(Threshold(32, max_wait_ticks=2), BIG) < 0.6 * cohort


def test_prefetching_hides_inference_where_it_is_shorter_than_a_chunk():
    assert BIG.infer(64) < 16 * BIG.step(64)
    assert of_bound(Prefetch(12), BIG) > 1.1


@pytest.mark.parametrize("scheduler", [Cohort(), GlobalClock(), Threshold(4), Threshold(8)])
@pytest.mark.parametrize(("num_envs", "execute"), [(8, 4), (8, 16)])
def test_without_ends_of_episodes_the_bound_is_reached_exactly(scheduler, num_envs, execute):
    costs = costs_of((10, 0.3), (100, 3), episode=0)
    run = simulate(scheduler, costs, num_envs=num_envs, execute=execute, num_ticks=10 * execute)
    expected = costs.synchronous_bound(num_envs, execute)
    assert run.env_steps_per_s == pytest.approx(expected, rel=1e-9)
    assert run.suspended_share == 0
    assert run.num_inferences == 10


def test_one_row_that_is_prefetched_early_enough_never_waits():
    costs = costs_of((10, 0), (35, 0), episode=0)
    run = simulate(Prefetch(4), costs, num_envs=1, execute=8, num_ticks=80, warm_up_ticks=80)
    assert run.env_steps_per_s == pytest.approx(1 / 0.010)
    late = simulate(Prefetch(2), costs, num_envs=1, execute=8, num_ticks=80, warm_up_ticks=80)
    assert late.env_steps_per_s == pytest.approx(8 / (0.080 + 0.015))


def test_two_halves_that_take_turns():
    """While one half is inferred, the other is stepped; steps cost nothing but for their rows."""
    costs = costs_of((0, 10), (160, 0), episode=0)
    run = simulate(
        Continuous(max_batch=1, min_batch=1),
        costs,
        num_envs=2,
        execute=16,
        num_ticks=640,
        warm_up_ticks=64,
    )
    assert run.env_steps_per_s == pytest.approx(100, rel=0.02)
    assert simulate(Cohort(), costs, num_envs=2, execute=16, num_ticks=640).env_steps_per_s == (
        pytest.approx(32 / 0.48)
    )


def test_slower_steps_beside_inference():
    costs = costs_of((10, 0), (40, 0), slowdown=2.0, episode=0)
    run = simulate(Prefetch(4), costs, num_envs=1, execute=8, num_ticks=80, warm_up_ticks=80)
    # Of 8 steps the first two of the last four take twice as long; then the chunk is there.
    assert run.env_steps_per_s == pytest.approx(8 / 0.100)


@settings(max_examples=60, deadline=None)
@given(
    num_envs=st.integers(1, 9),
    execute=st.integers(2, 6),
    step=st.tuples(st.floats(0.01, 50), st.floats(0, 5)),
    infer=st.tuples(st.floats(0, 900), st.floats(0, 50)),
    episode=st.floats(1, 40),
    choice=st.integers(0, 9),
    size=st.integers(1, 10),
)
def test_no_scheduler_ever_stalls(num_envs, execute, step, infer, episode, choice, size):
    scheduler = [
        AnyTrigger(),
        GlobalClock(),
        GlobalClock(period=size),
        Cohort(),
        Threshold(size),
        Threshold(size, max_wait_ticks=size),
        Continuous(),
        Continuous(max_batch=size, min_batch=size),
        Prefetch(1, min_batch=size),
        Prefetch(execute - 1, mode="discard"),
    ][choice]
    costs = costs_of(step, infer, episode=episode)
    run = simulate(scheduler, costs, num_envs=num_envs, execute=execute, num_ticks=60)
    assert run.env_steps_per_s > 0
    assert 0 <= run.suspended_share < 1
    # More is not possible: each tick moves at most all rows.
    assert run.env_steps_per_s <= num_envs / costs.step.fixed * 1.001


@pytest.mark.parametrize(
    "scheduler", [AnyTrigger(), Cohort(), Threshold(3), Continuous(), Prefetch(5)]
)
def test_it_agrees_with_the_world_that_tests_the_adaptive_scheduler(scheduler):
    costs = costs_of((8, 0.15), (50, 2))
    world = World(costs, 16, 16)
    world.run(scheduler, 10)
    rate = world.run(scheduler, 40)
    simulated = simulate(
        scheduler, costs, num_envs=16, execute=16, num_ticks=800, warm_up_ticks=160
    )
    assert simulated.env_steps_per_s == pytest.approx(rate, rel=0.04)


class Nobody(Cohort):
    def select(self, rows):
        return super().select(rows)[:0]


def test_a_scheduler_that_stalls_is_an_error():
    with pytest.raises(ConfigError, match="asked for nobody"):
        simulate(Nobody(), BIG, num_envs=2, execute=4, num_ticks=4)
    with pytest.raises(ConfigError, match="num_ticks must be at least 1"):
        simulate(Cohort(), BIG, num_envs=2, execute=4, num_ticks=0)
