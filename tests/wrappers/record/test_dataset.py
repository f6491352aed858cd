"""Datasets as users open them."""

import os
import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest

from holdstep.errors import ConfigError, DatasetError
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.tools.validate import validate
from tests.wrappers.record.made_episodes import (
    ENV_ARGS,
    assert_same,
    assert_same_array,
    made_episode,
)


@pytest.fixture
def episodes():
    return [made_episode(n, 3 + n, success=[True, False, None][n % 3]) for n in range(6)]


@pytest.fixture
def path(tmp_path, episodes):
    write_shard(tmp_path / "a.hdf5", episodes, env_args=ENV_ARGS)
    return tmp_path / "a.hdf5"


def test_one_file(path, episodes):
    with Dataset(path) as dataset:
        assert len(dataset) == 6
        for found, expected in zip(dataset, episodes, strict=True):
            assert_same(found, expected)
        assert_same(dataset[-1], episodes[-1])
        assert [e.name for e in dataset[1:3]] == ["demo_1", "demo_2"]
        assert dataset.total_steps == sum(e.num_steps for e in episodes)
        assert dataset.env_args == ENV_ARGS
        assert dataset.pending is None
        with pytest.raises(IndexError):
            dataset[6]


def test_by_success(path):
    assert [e.name for e in Dataset(path, success="succeeded")] == ["demo_0", "demo_3"]
    # As in Isaac Lab, what nobody said succeeded did not.
    failed = [e.name for e in Dataset(path, success="failed")]
    assert failed == ["demo_1", "demo_2", "demo_4", "demo_5"]
    with pytest.raises(ConfigError, match="got 'yes'"):
        Dataset(path, success="yes")


def test_arrays_are_read_when_they_are_looked_up(path, episodes, monkeypatch):
    import holdstep.wrappers.record.dataset as module

    looked_up = []
    read = module.read_array

    def reading(file, name, array, **part):
        looked_up.append(array)
        return read(file, name, array, **part)

    monkeypatch.setattr(module, "read_array", reading)
    arrays = Dataset(path)[2].arrays
    assert set(arrays) == set(episodes[2].arrays)
    assert len(arrays) == len(episodes[2].arrays)
    assert "obs/nothing" not in arrays
    assert looked_up == []
    assert_same_array(arrays["actions"], episodes[2].arrays["actions"])
    assert_same_array(arrays.rows("rewards", 1, 3), episodes[2].arrays["rewards"][1:3])
    assert arrays.describe("obs/policy") == ((5, 4), np.float32)
    assert looked_up == ["actions", "rewards"]
    for missing in (arrays.__getitem__, arrays.describe, lambda name: arrays.rows(name, 0, 1)):
        with pytest.raises(KeyError):
            missing("obs/nothing")


def first_actions(dataset):
    return dataset[0].arrays["actions"].tobytes()


READ_BY_OTHERS = """
import multiprocessing, sys
from holdstep.wrappers.record import Dataset

def first_actions(dataset):
    return dataset[0].arrays["actions"].tobytes()

if __name__ == "__main__":
    dataset = Dataset(sys.argv[1])
    expected = first_actions(dataset)  # so that the file is open when it is handed over
    with multiprocessing.get_context(sys.argv[2]).Pool(1) as pool:
        assert pool.apply(first_actions, (dataset,)) == expected
    assert first_actions(dataset) == expected
    print(expected.hex())
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_it_too(path, episodes, method, tmp_path):
    # In a process of its own: the threads that other tests have left here don't survive a fork, and
    # what they had locked stays so.
    script = tmp_path / "read_by_others.py"
    script.write_text(READ_BY_OTHERS)
    run = subprocess.run(
        [sys.executable, script, path, method], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert bytes.fromhex(run.stdout.strip()) == episodes[0].arrays["actions"].tobytes()


inherited = []


def has_opened_its_own(dataset):
    return dataset._open(dataset.files[0]) is not inherited[0]


def test_a_forked_process_opens_files_of_its_own(path, monkeypatch):
    """HDF5 does not promise that two processes can use one open file."""
    dataset = Dataset(path)
    monkeypatch.setattr(f"{__name__}.inherited", [dataset._open(path)], raising=True)
    assert not has_opened_its_own(dataset)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"own" if has_opened_its_own(dataset) else b"inherited")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 20) == b"own"
    os.close(reader)
    os.close(writer)


def test_a_copy_by_pickle(path):
    dataset = Dataset(path, success="failed")
    assert len(dataset[0].arrays) > 0
    copy = pickle.loads(pickle.dumps(dataset))
    assert [e.name for e in copy] == ["demo_1", "demo_2", "demo_4", "demo_5"]
    assert first_actions(copy) == first_actions(dataset)


def test_closing_is_no_end(path):
    dataset = Dataset(path)
    before = first_actions(dataset)
    dataset.close()
    dataset.close()
    assert first_actions(dataset) == before


def test_a_file_that_others_wrote(tmp_path):
    """robomimic's: no success, no way of ending, integers and floats of any width, a mask."""
    with h5py.File(tmp_path / "low_dim.hdf5", "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = 4
        data.attrs["env_args"] = '{"env_name": "Lift", "type": 1, "env_kwargs": {}}'
        demo = data.create_group("demo_0")
        demo.attrs["num_samples"] = 4
        demo.attrs["model_file"] = "<mujoco/>"
        demo["actions"] = np.arange(28.0).reshape(4, 7)
        demo["dones"] = np.array([0, 0, 0, 1])
        demo["obs/object"] = np.ones((4, 10), ">f8")
        file["mask/train"] = np.array([b"demo_0"])
    dataset = Dataset(tmp_path / "low_dim.hdf5")
    assert (dataset.env_args["env_name"], dataset.env_args["quaternion"]) == ("Lift", "wxyz")
    (episode,) = dataset
    assert (episode.num_steps, episode.success, episode.ended) == (4, None, "truncated")
    assert episode.attributes == {"model_file": "<mujoco/>"}
    assert_same_array(episode.arrays["obs/object"], np.ones((4, 10)))


@pytest.mark.parametrize("ended", ["terminated", "truncated", "reset"])
def test_how_an_episode_of_others_ended(tmp_path, ended):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_group("data/demo_0").attrs["num_samples"] = 5
        for path, array in made_episode(0, ended=ended).arrays.items():
            file[f"data/demo_0/{path}"] = array
    assert Dataset(tmp_path / "a.hdf5")[0].ended == ended
    assert validate(tmp_path / "a.hdf5").problems == ()


def test_no_dataset(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no dataset at"):
        Dataset(tmp_path / "nothing")
    with pytest.raises(DatasetError, match=r"was not recorded into: it has no dataset\.json"):
        Dataset(tmp_path)


def test_no_episodes(tmp_path):
    write_shard(tmp_path / "a.hdf5", [], env_args=ENV_ARGS)
    dataset = Dataset(tmp_path / "a.hdf5")
    assert (len(dataset), dataset.total_steps, dataset.shapes()) == (0, 0, {})
    assert dataset.env_args == ENV_ARGS
