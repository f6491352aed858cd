"""Counted are the first n episodes that start, each once and to its end, and no later one."""

import heapq

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdstep import evaluate
from holdstep.envs import check_vector_env
from holdstep.errors import ConfigError
from holdstep.policies.evaluation.accounting import EpisodeAccounts
from holdstep.wrappers import SuspendOnWait
from tests.policies.evaluation.envs import Coin, Scripted, idle


def first_started(lengths, num_episodes):
    """An event simulation: (row, number in its row, length) of the first that start, in order."""
    started = []
    ends = [(0, row, -1) for row in range(len(lengths))]  # (step, row, number) of what has ended
    while len(started) < num_episodes:
        step, row, number = heapq.heappop(ends)
        length = lengths[row][number + 1]
        started.append((row, number + 1, length))
        heapq.heappush(ends, (step + length, row, number + 1))
    return started


@st.composite
def scripts(draw):
    num_envs = draw(st.integers(1, 5))
    num_episodes = draw(st.integers(1, 12))
    row = st.lists(st.integers(1, 9), min_size=num_episodes + 12, max_size=num_episodes + 12)
    return draw(st.lists(row, min_size=num_envs, max_size=num_envs)), num_episodes


@settings(max_examples=60, deadline=None)
@given(scripts(), st.booleans())
def test_the_first_n_that_start(script, suspends):
    lengths, num_episodes = script
    # Rows that are not suspended go on after their last episode, for at most as long as one lasts.
    inner = Scripted([row + [9] * 9 for row in lengths])
    env = SuspendOnWait(inner, level="skip") if suspends else inner
    result = evaluate(env, idle, num_episodes, per_episode_seeds=False)
    expected = first_started(lengths, num_episodes)
    assert [episode.episode for episode in result.episodes] == list(range(num_episodes))
    assert [
        (episode.env_id, episode.episode_return - 100 * episode.env_id, episode.length)
        for episode in result.episodes
    ] == expected
    assert all(episode.terminated for episode in result.episodes)
    steps_of_row = [
        sum(length for row, _, length in expected if row == env_id)
        for env_id in range(len(lengths))
    ]
    assert result.num_steps == max(steps_of_row)
    # What doesn't count isn't even stepped where rows can be suspended.
    assert inner.row_steps.tolist() == (
        steps_of_row if suspends else [result.num_steps] * len(lengths)
    )
    assert result.idle_rows == ("suspended" if suspends else "stepped")
    if suspends:
        assert not env.suspended.any()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 20), st.data())
def test_every_number_is_handed_out_once(num_envs, num_episodes, data):
    accounts = EpisodeAccounts(num_envs, num_episodes)
    handed_out = accounts.start(list(range(num_envs)))
    finished = []
    while not accounts.all_finished:
        running = accounts.running_mask.nonzero()[0].tolist()
        rows = data.draw(st.lists(st.sampled_from(running), min_size=1, unique=True).map(sorted))
        finished += [accounts.finish(row) for row in rows]
        handed_out += accounts.start(rows)
        assert accounts.num_started == len(handed_out)
    assert handed_out == list(range(num_episodes)) == sorted(finished)
    assert not accounts.running_mask.any()


@pytest.mark.parametrize("num_episodes", [0, -1, 2.0, True, "3", None])
def test_numbers_of_episodes_that_make_no_sense(num_episodes):
    with pytest.raises(ConfigError, match="num_episodes must be an integer of at least 1"):
        EpisodeAccounts(2, num_episodes)


def test_fewer_episodes_than_rows():
    inner = Coin(8)
    result = evaluate(SuspendOnWait(inner, level="skip"), idle, 3)
    assert [episode.env_id for episode in result.episodes] == [0, 1, 2]
    assert inner.row_steps[3:].tolist() == [0] * 5
    assert inner.row_steps[:3].tolist() == [episode.length for episode in result.episodes]


def test_the_envs_of_these_tests_keep_the_contract():
    check_vector_env(Coin(4))


def test_rows_that_do_not_advance_are_not_counted():
    """Somebody else suspends a row in mid-episode: neither length nor return shows it."""
    env = SuspendOnWait(Coin(2), level="skip")
    calls = 0

    def policy(obs):
        nonlocal calls
        calls += 1
        if calls == 3:
            env.suspend([1])
        if calls == 9:
            env.resume([1])
        return idle(obs)

    result = evaluate(env, policy, 6, seed=2)
    undisturbed = evaluate(SuspendOnWait(Coin(2), level="skip"), idle, 6, seed=2)
    assert [e.length for e in result.episodes] == [e.length for e in undisturbed.episodes]
    assert [e.episode_return for e in result.episodes] == [float(e.length) for e in result.episodes]


def test_rewards_are_summed_without_rounding():
    """A float32 sum of 900 rewards is off in its sixth digit."""

    class Tiny(Scripted):
        def _advance(self, actions):
            state, _, terminated = super()._advance(actions)
            return state, torch.full((self.num_envs,), 0.1), terminated

    result = evaluate(Tiny([[900] * 3]), idle, 2, per_episode_seeds=False)
    expected = 900 * torch.tensor(0.1).double().item()
    assert [e.episode_return for e in result.episodes] == pytest.approx([expected] * 2, rel=1e-12)
