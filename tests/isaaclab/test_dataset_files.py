"""Isaac Lab 3's own file handler loads what is recorded, quaternions of either order included."""

import h5py
import pytest
import torch

from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.formats.isaaclab import export_isaaclab
from holdstep.wrappers.record.formats.robomimic import export_robomimic
from tests.wrappers.record.made_episodes import ENV_ARGS, assert_same_array, made_episode

POSE = "states/articulation/robot/root_pose"


@pytest.fixture
def handler():
    from isaaclab.utils.datasets import HDF5DatasetFileHandler

    handler = HDF5DatasetFileHandler()
    yield handler
    handler.close()


def pose_of(loaded):
    return loaded.data["states"]["articulation"]["robot"]["root_pose"]


def test_it_loads_what_is_recorded(handler, tmp_path):
    episodes = [made_episode(0, image=(8, 8, 3)), made_episode(1, 9, image=(8, 8, 3))]
    write_shard(tmp_path / "a.hdf5", episodes, env_args=ENV_ARGS | {"quaternion": "xyzw"})
    handler.open(str(tmp_path / "a.hdf5"))
    assert handler.get_num_episodes() == 2
    assert handler.get_format_version() == 1
    for episode in episodes:
        loaded = handler.load_episode(episode.name, "cpu")
        assert loaded.success
        for path, array in episode.arrays.items():
            data = loaded.data
            for name in path.split("/"):
                data = data[name]
            assert_same_array(data.numpy(), array)


def test_poses_of_another_simulator_are_turned_into_its_own_order(handler, tmp_path):
    episode = made_episode(0)
    write_shard(tmp_path / "a.hdf5", [episode], env_args=ENV_ARGS | {"quaternion": "wxyz"})
    handler.open(str(tmp_path / "a.hdf5"))
    assert handler.is_legacy_quaternion_format()
    wxyz = torch.as_tensor(episode.arrays[POSE])
    loaded = pose_of(handler.load_episode("demo_0", "cpu"))
    assert torch.equal(loaded, wxyz[:, [0, 1, 2, 4, 5, 6, 3]])


@pytest.mark.parametrize("name", ["merge", "robomimic"])
def test_files_of_isaac_lab_2_stay_recognisable_as_such(handler, tmp_path, name):
    with h5py.File(tmp_path / "old.hdf5", "w") as file:
        demo = file.create_group("data/demo_0")
        file["data"].attrs["env_args"] = '{"env_name": "Isaac-Lift-v0", "type": 2}'
        demo.attrs["num_samples"] = 5
        for path, array in made_episode(0).arrays.items():
            demo[path] = array
    convert = {"merge": export_isaaclab, "robomimic": export_robomimic}[name]
    convert(Dataset(tmp_path / "old.hdf5"), tmp_path / "new.hdf5")
    handler.open(str(tmp_path / "new.hdf5"))
    assert handler.is_legacy_quaternion_format()


def test_what_it_writes_is_a_dataset(handler, tmp_path):
    from isaaclab.utils.datasets import EpisodeData

    handler.create(str(tmp_path / "theirs.hdf5"), env_name="Isaac-Lift-v0")
    episode = EpisodeData()
    for step in range(6):
        episode.add("actions", torch.full((7,), float(step)))
        episode.add("obs", {"policy": torch.full((3,), float(step))})
    episode.success = True
    episode.pre_export()
    handler.write_episode(episode)
    handler.write_episode(episode, demo_id=7)
    handler.close()
    found = list(Dataset(tmp_path / "theirs.hdf5"))
    assert [e.name for e in found] == ["demo_0", "demo_7"]
    for one in found:
        assert one.success is True
        assert_same_array(one.arrays["actions"], episode.data["actions"].numpy())
        assert_same_array(one.arrays["obs/policy"], episode.data["obs"]["policy"].numpy())
