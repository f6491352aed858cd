"""The n-th episode is the same, whichever row runs it and whenever."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st

from holdstep import evaluate
from holdstep.envs import adapt, make
from holdstep.errors import CapabilityError
from holdstep.policies.evaluation.streams import episode_seed
from holdstep.wrappers import SuspendOnWait, VectorWrapper
from tests.policies.evaluation.envs import to_the_goal


def outcomes(result):
    """All of the episodes but who ran them when."""
    assert result.seed_scope == "episode"
    return [dataclasses.replace(episode, env_id=0, wall_time_s=0.0) for episode in result.episodes]


@given(
    st.integers(0, 2**31 - 1),
    st.lists(st.integers(0, 2**31 - 1), min_size=2, max_size=50, unique=True),
)
def test_no_two_episodes_of_a_run_have_the_same_seed(seed, episodes):
    seeds = [episode_seed(seed, episode) for episode in episodes]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == [episode_seed(seed, episode) for episode in episodes]


def test_seeds_of_neighbouring_episodes_and_runs_have_nothing_in_common():
    table = np.array([[episode_seed(run, episode) for episode in range(400)] for run in range(40)])
    # 16000 of 2**31 values: less than one pair of different runs is expected to be equal.
    assert len(np.unique(table)) >= table.size - 2
    bits = (table[..., None] >> np.arange(31)) & 1
    assert np.abs(bits.mean(axis=(0, 1)) - 0.5).max() < 0.03
    for axis in (0, 1):  # half of the bits change from one to the next
        changed = np.diff(bits, axis=axis) != 0
        assert np.abs(changed.mean(axis=(0, 1)) - 0.5).max() < 0.03


def point_mass(num_envs, **options):
    return make("holdstep:PointMass", num_envs=num_envs, device="cpu", seed=num_envs, **options)


def test_reference_envs():
    runs = [evaluate(point_mass(num_envs), to_the_goal, 25, seed=4) for num_envs in (1, 3, 8, 40)]
    assert all(outcomes(run) == outcomes(runs[0]) for run in runs)
    other = evaluate(point_mass(3), to_the_goal, 25, seed=5)
    assert {e.seed for e in other.episodes}.isdisjoint(e.seed for e in runs[0].episodes)
    assert outcomes(other) != outcomes(runs[0])


def test_more_episodes_begin_with_the_same_ones():
    few = evaluate(point_mass(4), to_the_goal, 7)
    assert outcomes(few) == outcomes(evaluate(point_mass(3), to_the_goal, 20))[:7]


def test_an_episode_can_be_repeated_by_its_seed():
    episode = evaluate(point_mass(6), to_the_goal, 20).episodes[17]
    env = point_mass(1)
    obs, _ = env.reset(seed=episode.seed)
    total, length, done = 0.0, 0, False
    while not done:
        obs, reward, terminated, truncated, _ = env.step(to_the_goal(obs))
        total, length = total + reward.item(), length + 1
        done = bool(terminated | truncated)
    assert (total, length) == (episode.episode_return, episode.length)


def push_back(obs):
    return (obs["policy"][:, 2] + 0.3 * obs["policy"][:, 3] > 0).long()


@pytest.mark.parametrize(
    ("vector", "kwargs"), [(SyncVectorEnv, {}), (AsyncVectorEnv, {"context": "forkserver"})]
)
def test_vectors_of_gymnasium(vector, kwargs):
    def run(num_envs):
        fns = [lambda: gymnasium.make("CartPole-v1", max_episode_steps=60)] * num_envs
        env = adapt(vector(fns, **kwargs))
        try:
            return evaluate(env, push_back, 9, seed=2)
        finally:
            env.close()

    results = [run(num_envs) for num_envs in ((1, 4) if vector is SyncVectorEnv else (2, 3))]
    assert outcomes(results[0]) == outcomes(results[1])
    alone = gymnasium.make("CartPole-v1")
    starts = {alone.reset(seed=e.seed)[0].tobytes() for e in results[0].episodes}
    assert len(starts) == 9


def test_an_episode_of_gymnasiums_starts_as_a_single_env_does_with_its_seed():
    """In every row, although Gymnasium adds the number of the row to a seed."""
    seen = []

    def policy(obs):
        seen.append(obs["policy"].clone())
        return push_back(obs)

    env = adapt(SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 3))
    result = evaluate(env, policy, 3)
    alone = gymnasium.make("CartPole-v1")
    for episode in result.episodes:
        start, _ = alone.reset(seed=episode.seed)
        assert np.array_equal(seen[0][episode.env_id].numpy(), start)


def test_a_vector_whose_rows_cannot_be_reset_runs_on_one_seed():
    vector = gymnasium.wrappers.vector.NormalizeReward(
        SyncVectorEnv(
            [lambda: gymnasium.make("CartPole-v1")] * 3,
            autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
        )
    )
    env = adapt(vector)
    result = evaluate(env, push_back, 5)
    assert result.seed_scope == "run"
    assert {episode.seed for episode in result.episodes} == {None}
    with pytest.raises(CapabilityError, match="NormalizeReward loses track of the other rows"):
        evaluate(env, push_back, 5, per_episode_seeds=True)


class OwnStreams(VectorWrapper):
    """Stands for an env of a user's, with seeded streams of another kind, and records resets."""

    def __init__(self, env):
        super().__init__(env)
        self.resets = []

    @property
    def unwrapped(self):
        return self

    def reset(self, *, seed=None, options=None):
        self.resets.append((seed, options))
        return super().reset(seed=seed, options=options)


def test_other_envs_are_reset_row_by_row_with_the_episodes_seeds():
    env = OwnStreams(point_mass(3))
    result = evaluate(env, to_the_goal, 8, seed=6)
    assert env.resets[0] == (6, None)
    assert [(seed, options["env_ids"]) for seed, options in env.resets[1:]] == [
        (episode.seed, [episode.env_id]) for episode in result.episodes
    ]


def test_rows_can_be_left_to_go_on():
    env = OwnStreams(point_mass(3))
    result = evaluate(env, to_the_goal, 8, seed=6, per_episode_seeds=False)
    assert env.resets == [(6, None)]
    assert result.seed_scope == "run"
    assert {episode.seed for episode in result.episodes} == {None}
    again = evaluate(point_mass(3), to_the_goal, 8, seed=6, per_episode_seeds=False)
    assert [e.episode_return for e in again.episodes] == [e.episode_return for e in result.episodes]


def test_suspension_changes_nothing():
    plain = evaluate(point_mass(4), to_the_goal, 10)
    held = evaluate(SuspendOnWait(point_mass(4), level="skip"), to_the_goal, 10)
    assert outcomes(plain) == outcomes(held)


def test_it_works_under_inference_mode():
    with torch.inference_mode():
        inside = evaluate(point_mass(4), to_the_goal, 10)
    assert outcomes(inside) == outcomes(evaluate(point_mass(4), to_the_goal, 10))


def test_streams_of_simulator_rows_are_exchanged_without_a_look_at_anything_else(monkeypatch):
    """Starting an episode must not cost a snapshot: with cameras that would draw every image."""
    env = SuspendOnWait(
        make("mjlab:Mjlab-Cartpole-Balance", num_envs=3, device="cpu", seed=0), rng="per_env"
    )
    env.reset(seed=0)
    rows = torch.tensor([2, 0])
    before = env.snapshot()
    streams = {name: torch.tensor([5, 7]) + i for i, name in enumerate(("key", "gamma", "counter"))}
    with monkeypatch.context() as patch:
        patch.setattr(type(env), "snapshot", None)
        env.suspend([2])
        env.set_streams(rows, **streams)
        env.step(torch.zeros(3, 1))
        env.resume([2])
    after = env.snapshot()
    for name, values in streams.items():
        assert after.rows[f"random.{name}"][2] == values[0], name
    assert after.rows["random.key"].tolist() == [8 - 1, before.rows["random.key"][1].item(), 5]
    held = {name: rows[2] for name, rows in after.rows.items() if not name.startswith("random.")}
    assert all(torch.equal(value, before.rows[name][2]) for name, value in held.items())
    env.close()


def test_streams_need_rows_that_have_their_own():
    env = SuspendOnWait(make("mjlab:Mjlab-Cartpole-Balance", num_envs=2, device="cpu", seed=0))
    env.reset(seed=0)
    one = torch.ones(1, dtype=torch.int64)
    with pytest.raises(CapabilityError, match="rng='per_env'"):
        env.set_streams([0], key=one, gamma=one, counter=one)
    env.close()
