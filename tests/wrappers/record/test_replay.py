"""Recorded actions applied once more."""

import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.errors import DatasetError
from holdstep.wrappers.record import Dataset, Episode
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.recorder import RecordEpisodes
from holdstep.wrappers.record.tools.replay import _largest, plot_replay, replay
from tests.conftest import make_mjlab

POINT_MASS = "holdstep:PointMass"
NUM_ENVS = 3


def recorded(env, num_steps, *, seed=0):
    """Episodes of all rows, of ``num_steps`` steps, none of which ends; as a recorder sees them."""
    obs, _ = env.reset(seed=seed)
    random = torch.Generator().manual_seed(seed)
    shape = env.action_space.shape
    states, observations = [env.scene_state()], [obs]
    actions, rewards = [], []
    for _ in range(num_steps):
        action = torch.rand(shape, generator=random) * 0.4 - 0.2
        obs, reward, terminated, truncated, _ = env.step(action)
        assert not (terminated | truncated).any()
        actions.append(action)
        rewards.append(reward)
        states.append(env.scene_state())
        observations.append(obs)

    def rows(tensors, row):
        return torch.stack([tensor[row] for tensor in tensors]).numpy()

    for row in range(env.num_envs):
        arrays = {"actions": rows(actions, row), "rewards": rows(rewards, row)}
        for path in states[0]:
            values = rows([state[path] for state in states], row)
            arrays |= {f"initial_state/{path}": values[:1], f"states/{path}": values[1:]}
        for group in observations[0]:
            values = rows([obs[group] for obs in observations], row)
            arrays |= {f"obs/{group}": values[:-1], f"final_obs/{group}": values[-1:]}
        yield Episode(f"demo_{row}", num_steps, arrays, "reset")


def dataset_of(path, episodes, env_id=POINT_MASS):
    write_shard(path, episodes, env_args={"env_name": env_id})
    return Dataset(path)


@pytest.fixture
def env():
    return make(POINT_MASS, num_envs=NUM_ENVS, device="cpu", seed=0)


@pytest.mark.parametrize("num_envs", [1, 2, 5])
def test_an_env_without_hidden_state_does_the_same_again(tmp_path, env, num_envs):
    dataset = dataset_of(tmp_path / "a.hdf5", recorded(env, 12))
    other = make(POINT_MASS, num_envs=num_envs, device="cpu", seed=7)
    calls = []
    replayed = replay(dataset, other, on_episode=lambda: calls.append(1))
    assert [r.name for r in replayed] == ["demo_0", "demo_1", "demo_2"]
    assert len(calls) == NUM_ENVS
    for episode in replayed:
        assert (episode.replayed_steps, episode.num_steps) == (12, 12)
        assert episode.ended_as_recorded
        for errors in (episode.state_error, episode.obs_error, episode.reward_error):
            assert errors.shape == (12,)
            assert np.all(errors == 0)
        assert episode.initial_obs_error == 0
        assert episode.first_divergence(0.0) is None


def test_divergence_is_seen_from_the_step_where_it_begins(tmp_path, env):
    episodes = list(recorded(env, 12))
    episodes[1].arrays["actions"][5] += 0.1
    dataset = dataset_of(tmp_path / "a.hdf5", episodes)
    replayed = replay(dataset, make(POINT_MASS, num_envs=4, device="cpu"))
    assert [r.first_divergence(1e-9) for r in replayed] == [None, 5, None]
    assert np.all(replayed[1].state_error[:5] == 0)
    assert np.all(replayed[1].obs_error[5:] > 0)


def test_another_initial_state_is_seen_before_the_first_step(tmp_path, env):
    episodes = list(recorded(env, 3))
    for path, array in episodes[0].arrays.items():
        if path.startswith("initial_state/") and array.dtype.kind == "f":
            episodes[0].arrays[path] = array + np.float32(0.25)
    dataset = dataset_of(tmp_path / "a.hdf5", episodes)
    replayed = replay(dataset, make(POINT_MASS, num_envs=4, device="cpu"))
    assert replayed[0].initial_obs_error > 0.1
    assert replayed[0].first_divergence(1e-3) == 0
    assert replayed[1].initial_obs_error == 0


def test_an_episode_that_ends_otherwise(tmp_path, env):
    dataset = dataset_of(tmp_path / "a.hdf5", recorded(env, 12))
    short = make(POINT_MASS, num_envs=4, device="cpu", max_episode_length=7)
    for episode in replay(dataset, short):
        assert episode.replayed_steps == 7
        assert not episode.ended_as_recorded
        assert len(episode.state_error) == 7


def test_some_episodes_only(tmp_path, env):
    dataset = dataset_of(tmp_path / "a.hdf5", recorded(env, 3))
    assert [r.name for r in replay(dataset, env, indices=[2, 0])] == ["demo_2", "demo_0"]


def test_what_can_not_be_replayed(tmp_path, env):
    episodes = list(recorded(env, 3))
    arrays = {k: v for k, v in episodes[0].arrays.items() if not k.startswith("initial_state")}
    stateless = dataset_of(tmp_path / "a.hdf5", [Episode("demo_0", 3, arrays)])
    with pytest.raises(DatasetError, match="no initial state to replay from"):
        replay(stateless, env)
    wide = dict(episodes[0].arrays) | {"actions": np.zeros((3, 9), np.float32)}
    other = dataset_of(tmp_path / "b.hdf5", [Episode("demo_0", 3, wide)])
    with pytest.raises(DatasetError, match=r"actions of shape \(9,\); the env takes \(2,\)"):
        replay(other, env)


def test_what_the_recorder_recorded(tmp_path):
    """Ends of episodes included: final states and observations come before the rows' resets."""
    keys = ["actions", "obs", "rewards", "terminated", "truncated", "states"]
    inner = make(POINT_MASS, num_envs=4, device="cpu", seed=0, max_episode_length=9)
    env = RecordEpisodes(inner, tmp_path / "demos", keys=keys, writer="thread")
    env.reset(seed=0)
    random = torch.Generator().manual_seed(0)
    for _ in range(30):
        env.step(torch.rand(4, 2, generator=random) * 2 - 1)
    env.close()
    dataset = Dataset(tmp_path / "demos")
    assert {entry.ended for entry in dataset.entries()} >= {"truncated", "closed"}
    other = make(POINT_MASS, num_envs=5, device="cpu", seed=3, max_episode_length=9)
    replayed = replay(dataset, other)
    assert len(replayed) == len(dataset) > 12
    for episode in replayed:
        assert episode.ended_as_recorded
        for errors in (episode.state_error, episode.obs_error, episode.reward_error):
            assert np.all(errors == 0)  # none of them NaN, that of the last step neither

    for episode in replay(
        dataset, make(POINT_MASS, num_envs=5, device="cpu", max_episode_length=4)
    ):
        assert episode.ended_as_recorded == (episode.num_steps < 4)


@pytest.mark.parametrize(
    ("found", "recorded", "difference"),
    [
        ([1.0, 2.5], [1.0, 2.0], 0.5),
        ([1.0, np.nan], [1.0, np.nan], 0.0),
        ([1.0, np.nan], [1.0, 2.0], np.inf),
        ([np.inf], [np.inf], 0.0),
        ([np.inf], [3.0], np.inf),
        ([[1]], [1], np.inf),
        ([], [], 0.0),
    ],
)
def test_differences(found, recorded, difference):
    assert _largest(np.array(found), np.array(recorded)) == difference


def test_large_integers_that_differ():
    assert _largest(np.array([1 << 60]), np.array([(1 << 60) + 1])) > 0


def test_physics(tmp_path):
    env = make_mjlab("Mjlab-Cartpole-Balance", num_envs=2, seed=0)
    dataset = dataset_of(tmp_path / "a.hdf5", recorded(env, 10))
    replayed = replay(dataset, env)
    env.close()
    for episode in replayed:
        assert episode.replayed_steps == 10
        assert np.nanmax(episode.state_error) < 1e-3


def test_a_picture(tmp_path, env):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    dataset = dataset_of(tmp_path / "a.hdf5", recorded(env, 5))
    path = plot_replay(replay(dataset, env), tmp_path / "new" / "replay.png", title="a")
    assert path.read_bytes().startswith(b"\x89PNG")
