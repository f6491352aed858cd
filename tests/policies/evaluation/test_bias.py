"""A true success rate of 0.50 is read as such, however early successes end."""

from functools import cache
from statistics import fmean

import pytest

from holdstep import evaluate
from tests.benchmarks.evaluation_bias import Arguments, first_steps, first_to_finish, main
from tests.policies.evaluation.envs import Coin, idle

NUM_ENVS = (16, 64, 256)


@cache
def evaluated(num_envs):
    return evaluate(Coin(num_envs), idle, 2000)


@pytest.mark.parametrize("num_envs", NUM_ENVS)
def test_what_starts_first_is_unbiased(num_envs):
    result = evaluated(num_envs)
    assert len(result.episodes) == 2000
    assert 0.48 <= result.success_rate <= 0.52
    low, high = result.confidence_interval
    assert low <= 0.5 <= high
    # Successes do end early, or there would be nothing to be biased by.
    lengths = {True: [], False: []}
    for episode in result.episodes:
        lengths[episode.success].append(episode.length)
    assert fmean(lengths[True]) == pytest.approx(15, abs=1)
    assert fmean(lengths[False]) == pytest.approx(60, abs=1)


@pytest.mark.parametrize("num_envs", NUM_ENVS)
def test_what_starts_first_is_unbiased_whatever_the_streams(num_envs):
    """Here the rows just go on, so that each number of rows sees other episodes."""
    result = evaluate(Coin(num_envs), idle, 2000, seed=1, per_episode_seeds=False)
    assert 0.48 <= result.success_rate <= 0.52


def test_the_number_of_rows_does_not_matter():
    outcomes = [
        [(e.seed, e.success, e.length, e.episode_return) for e in evaluated(num_envs).episodes]
        for num_envs in NUM_ENVS
    ]
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_over_many_seeds_it_reads_one_half():
    """8000 episodes: three standard errors are 0.017."""
    rates = [evaluate(Coin(256), idle, 2000, seed=seed).success_rate for seed in range(100, 104)]
    assert fmean(rates) == pytest.approx(0.5, abs=0.017)


def test_few_episodes_are_as_unbiased_as_many():
    """As many episodes as rows, where the other ways of counting are at their worst."""
    rates = [evaluate(Coin(64), idle, 64, seed=seed).success_rate for seed in range(40)]
    assert fmean(rates) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("num_envs", NUM_ENVS)
def test_other_ways_of_counting_are_biased(num_envs):
    env = Coin(num_envs)
    ended = [first_to_finish(env, num_envs, seed) for seed in range(8)]
    within = [first_steps(env, 120, seed) for seed in range(8)]
    assert fmean(ended) > 0.55
    assert fmean(within) > 0.55


def test_the_benchmark_shows_all_ways_side_by_side():
    lines = main(Arguments(num_envs=(32,), num_episodes=400, repeats=6))
    rates = {(line["what"], line["episodes"]): line["success_rate"] for line in lines}
    assert rates["first to start", 400] == pytest.approx(0.5, abs=0.08)
    assert rates["first to start", 32] == pytest.approx(0.5, abs=0.12)
    assert rates["first to end", 32] > 0.7
    assert rates["ends within 120 steps", "all of these"] > 0.55
