"""Isaac Lab 2.3.2's own file handler, from its wheel, and files as it writes them."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.formats.isaaclab import export_isaaclab
from holdstep.wrappers.record.tools.validate import validate
from tests.wrappers.record.made_episodes import ENV_ARGS, assert_same_array, made_episode

WHEEL = Path(sys.prefix) / "compat" / "isaaclab==2.3.2"


@pytest.fixture(scope="module")
def datasets():
    """Its package of dataset classes, which needs nothing else of Isaac Lab."""
    if not WHEEL.is_dir():
        pytest.skip(f"Isaac Lab 2.3.2's wheel is not in {WHEEL}: python tests/compat/install.py")
    folder = WHEEL / "isaaclab/source/isaaclab/isaaclab/utils/datasets"
    spec = importlib.util.spec_from_file_location("isaaclab23_datasets", folder / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    for name in [name for name in sys.modules if name.startswith(spec.name)]:
        del sys.modules[name]


def nested(data, path):
    for name in path.split("/"):
        data = data[name]
    return data


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_it_loads_what_is_recorded(datasets, tmp_path, compression):
    episodes = [made_episode(0, image=(8, 8, 3)), made_episode(1, 9, success=None, image=(8, 8, 3))]
    path = tmp_path / "a.hdf5"
    write_shard(path, episodes, env_args=ENV_ARGS, compression=compression)
    handler = datasets.HDF5DatasetFileHandler()
    handler.open(str(path))
    assert handler.get_num_episodes() == 2
    assert handler.get_env_name() == "holdstep:PointMass"
    assert list(handler.get_episode_names()) == ["demo_0", "demo_1"]
    for episode in episodes:
        loaded = handler.load_episode(episode.name, "cpu")
        assert loaded.success == episode.success
        assert loaded.seed == episode.attributes["seed"]
        for name, array in episode.arrays.items():
            assert_same_array(nested(loaded.data, name).numpy(), array)
        for step in range(episode.num_steps):
            assert torch.equal(loaded.get_next_action(), loaded.data["actions"][step])
            assert loaded.get_state(step)["articulation"]["robot"]["root_pose"].shape == (1, 7)
        assert loaded.get_next_action() is None
    handler.close()


def test_what_it_writes_is_a_dataset(datasets, tmp_path):
    handler = datasets.HDF5DatasetFileHandler()
    handler.create(str(tmp_path / "theirs.hdf5"), env_name="Isaac-Lift-v0")
    random = np.random.default_rng(0)
    written = []
    for number in range(3):
        episode = datasets.EpisodeData()
        for _ in range(4 + number):
            episode.add("actions", torch.tensor(random.normal(size=7)))
            episode.add("obs", {"policy": torch.tensor(random.normal(size=5))})
            episode.add("states/articulation/robot/root_pose", torch.zeros(7))
        episode.add("initial_state/articulation/robot/root_pose", torch.zeros(7))
        episode.seed, episode.success = number, number != 1
        episode.pre_export()
        handler.write_episode(episode)
        written.append(episode)
    handler.close()
    path = tmp_path / "theirs.hdf5"
    dataset = Dataset(path)
    assert dataset.env_args["env_name"] == "Isaac-Lift-v0"
    for found, episode in zip(dataset, written, strict=True):
        assert found.num_steps == len(episode.data["actions"])
        assert (found.success, found.attributes["seed"]) == (episode.success, episode.seed)
        assert_same_array(found.arrays["actions"], episode.data["actions"].numpy())
        assert_same_array(found.arrays["obs/policy"], episode.data["obs"]["policy"].numpy())
    assert validate(path).problems == ()
    out = export_isaaclab(Dataset(path, success="succeeded"), tmp_path / "ours.hdf5").path
    handler = datasets.HDF5DatasetFileHandler()
    handler.open(str(out))
    assert handler.get_num_episodes() == 2
    loaded = handler.load_episode("demo_1", "cpu")
    assert torch.equal(loaded.data["actions"], written[2].data["actions"])
    handler.close()
