"""Datasets that minari itself loads."""

import numpy as np
import pytest

from holdstep.errors import DatasetError
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.formats.minari import export_minari
from tests.wrappers.record.made_episodes import ENV_ARGS, assert_same_array, made_episode

minari = pytest.importorskip("minari", reason="the extra 'minari' is not installed")

GROUPS = {
    "obs/policy": ("policy",),
    "obs/robot/joints": ("robot", "joints"),
    "obs/front": ("front",),
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def recorded(path, episodes):
    write_shard(path, episodes, env_args=ENV_ARGS)
    return Dataset(path)


def with_final(episode, path):
    final = episode.arrays[path.replace("obs/", "final_obs/", 1)]
    return np.concatenate([episode.arrays[path], final])


def test_a_folder_may_be_named_from_the_current_one(tmp_path, root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_minari(recorded("a.hdf5", [made_episode(0, 3)]), "datasets")
    assert minari.load_dataset("holdstep/PointMass/recorded-v0").total_steps == 3


def test_minari_loads_every_value(tmp_path, root):
    episodes = [
        made_episode(n, 3 + n, ended=ended, success=n != 1, image=(32, 40, 3),
                     attributes={"seed": n, "instruction": "lift", "nested": [1]})
        for n, ended in enumerate(["terminated", "truncated", "reset"])
    ]  # fmt: skip
    conversion = export_minari(recorded(tmp_path / "a.hdf5", episodes), root)
    assert (conversion.num_episodes, conversion.notes) == (3, ())
    assert conversion.path == root / "holdstep/PointMass/recorded-v0"
    loaded = minari.load_dataset("holdstep/PointMass/recorded-v0")
    assert (loaded.total_episodes, loaded.total_steps) == (3, 3 + 4 + 5)
    assert list(minari.list_local_datasets()) == ["holdstep/PointMass/recorded-v0"]
    assert set(minari.namespace.list_local_namespaces()) == {"holdstep", "holdstep/PointMass"}
    for found, episode in zip(loaded, episodes, strict=True):
        for path, names in GROUPS.items():
            values = found.observations
            for name in names:
                values = values[name]
            assert_same_array(values, with_final(episode, path))
        assert_same_array(found.actions, episode.arrays["actions"])
        assert_same_array(found.rewards, episode.arrays["rewards"])
        assert found.terminations.tolist() == episode.arrays["terminated"].tolist()
        assert found.truncations[-1] == (episode.ended != "terminated")
        assert not found.truncations[:-1].any()
        for step in range(episode.num_steps):
            assert loaded.action_space.contains(found.actions[step])
    metadata = list(loaded.storage.get_episode_metadata(range(3)))
    assert [m["seed"] for m in metadata] == [0, 1, 2]
    assert [bool(m["success"]) for m in metadata] == [True, False, True]
    assert {m["instruction"] for m in metadata} == {"lift"}
    assert [m["ended"] for m in metadata] == ["terminated", "truncated", "reset"]


def test_one_observation_is_no_dictionary(tmp_path, root):
    episodes = [made_episode(0)]
    export_minari(
        recorded(tmp_path / "a.hdf5", episodes), root, dataset_id="x-v3", keys={"obs/policy": "s"}
    )
    loaded = minari.load_dataset("x-v3")
    assert_same_array(loaded[0].observations, with_final(episodes[0], "obs/policy"))
    assert loaded.observation_space.shape == (4,)


def test_without_a_final_observation_the_last_step_is_left_out(tmp_path, root):
    episodes = [
        made_episode(0, 4, final=False, ended="reset"),
        made_episode(1, 1, final=False, ended="reset"),
        made_episode(2, 3),
    ]
    conversion = export_minari(recorded(tmp_path / "a.hdf5", episodes), root, dataset_id="x-v0")
    assert conversion.num_episodes == 2
    cut, left_out = conversion.notes
    assert cut.startswith("1 episodes have no final observation")
    assert left_out.startswith("1 episodes had no other step")
    found = minari.load_dataset("x-v0")[0]
    assert_same_array(found.observations["policy"], episodes[0].arrays["obs/policy"])
    assert_same_array(found.actions, episodes[0].arrays["actions"][:3])
    assert found.truncations.tolist() == [False, False, True]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "u1", "bool"])
def test_observations_of_any_type(tmp_path, root, dtype):
    episode = made_episode(0)
    for path in ("obs/policy", "final_obs/policy"):
        episode.arrays[path] = (episode.arrays[path] > 0).astype(dtype)
    export_minari(recorded(tmp_path / "a.hdf5", [episode]), root, dataset_id="x-v0")
    loaded = minari.load_dataset("x-v0")
    expected = with_final(episode, "obs/policy")
    assert_same_array(loaded[0].observations["policy"], expected)
    assert loaded.observation_space["policy"].contains(expected[0])


def test_what_can_not_be_converted(tmp_path, root):
    dataset = recorded(tmp_path / "a.hdf5", [made_episode(0)])
    for arguments, message in (
        ({"dataset_id": "no version"}, "no id of a Minari dataset"),
        ({"keys": {"obs/polcy": "a"}}, r"no observation 'obs/polcy'.*Did you mean: obs/policy"),
        ({"keys": {"rewards": "a"}}, "no observation 'rewards'"),
        ({"keys": {}}, "no observations"),
    ):
        with pytest.raises(DatasetError, match=message):
            export_minari(dataset, root, **arguments)
    cut = recorded(tmp_path / "b.hdf5", [made_episode(0, 1, final=False, ended="reset")])
    with pytest.raises(DatasetError, match="None of the episodes can be converted"):
        export_minari(cut, root)
    assert list(root.rglob("*.hdf5")) == []


def test_what_exists_stays(tmp_path, root):
    dataset = recorded(tmp_path / "a.hdf5", [made_episode(0)])
    export_minari(dataset, root, dataset_id="x-v0")
    with pytest.raises(DatasetError, match="nothing is ever written over"):
        export_minari(dataset, root, dataset_id="x-v0")
    export_minari(dataset, root, dataset_id="x-v1")
    assert list(minari.list_local_datasets()) == ["x-v0", "x-v1"]
