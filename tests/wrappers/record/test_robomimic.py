"""robomimic's own SequenceDataset, from its wheel, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from holdstep.errors import DatasetError
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.formats.robomimic import export_robomimic
from tests.wrappers.record.made_episodes import ENV_ARGS, made_episode

WHEEL = Path(sys.prefix) / "compat" / "robomimic==0.3.0"

LOAD = """
import contextlib, io, json, sys, types
import numpy as np
arguments = json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()):
    import robomimic.utils.obs_utils as obs_utils
    from robomimic.utils.dataset import SequenceDataset
    obs_utils.initialize_obs_modality_mapping_from_dict({"low_dim": arguments["obs_keys"]})
    dataset = SequenceDataset(
        hdf5_cache_mode=arguments.pop("cache"),
        dataset_keys=arguments.pop("dataset_keys"),
        **arguments,
    )
    items = [dataset[i] for i in range(len(dataset))]

def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return np.asarray(value).astype(float).tolist()

print(json.dumps([plain(item) for item in items]))
"""


def loaded(path, **arguments):
    if not WHEEL.is_dir():
        pytest.skip(f"robomimic's wheel is not in {WHEEL}: python tests/compat/install.py")
    environment = os.environ | {"PYTHONPATH": str(WHEEL)}
    arguments = {"hdf5_path": str(path), "cache": "low_dim", "load_next_obs": False} | arguments
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD, json.dumps(arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture
def episodes():
    return [
        made_episode(n, 4 + n, success=n != 1, ended=["terminated", "truncated"][n % 2])
        for n in range(3)
    ]


@pytest.fixture
def path(tmp_path, episodes):
    write_shard(tmp_path / "a.hdf5", episodes, env_args=ENV_ARGS)
    return tmp_path / "a.hdf5"


def column(items, *names):
    for name in names:
        items = [item[name] for item in items]
    return np.array(items)


def rows_of(episodes, path):
    return np.concatenate([episode.arrays[path] for episode in episodes])


def test_it_loads_what_is_recorded(path, episodes):
    items = loaded(path, obs_keys=["policy"], dataset_keys=["actions", "rewards"])
    assert len(items) == 4 + 5 + 6
    assert np.array_equal(column(items, "actions")[:, 0], rows_of(episodes, "actions"))
    assert np.array_equal(column(items, "rewards")[:, 0], rows_of(episodes, "rewards"))
    assert np.array_equal(column(items, "obs", "policy")[:, 0], rows_of(episodes, "obs/policy"))


def test_it_trains_offline_on_what_is_converted(path, episodes, tmp_path):
    conversion = export_robomimic(Dataset(path), tmp_path / "out.hdf5")
    assert (conversion.num_episodes, conversion.notes) == (3, ())
    arguments = {
        "obs_keys": ["policy", "robot_joints"],
        "dataset_keys": ["actions", "rewards", "dones"],
        "load_next_obs": True,
        "seq_length": 2,
    }
    items = loaded(conversion.path, **arguments)
    expected = np.concatenate(
        [
            np.concatenate([e.arrays["obs/policy"][1:], e.arrays["final_obs/policy"]])
            for e in episodes
        ]
    )
    assert np.array_equal(column(items, "next_obs", "policy")[:, 0], expected)
    dones = np.concatenate([e.arrays["terminated"] for e in episodes])
    assert np.array_equal(column(items, "dones")[:, 0], dones)
    succeeded = loaded(conversion.path, filter_by_attribute="successful", **arguments)
    assert np.array_equal(
        column(succeeded, "actions")[:, 0], rows_of([episodes[0], episodes[2]], "actions")
    )
    with h5py.File(conversion.path) as file:
        assert file["mask/failed"][:].tolist() == [b"demo_1"]


def test_what_it_says_about_the_env(path, tmp_path):
    dataset = Dataset(export_robomimic(Dataset(path), tmp_path / "out.hdf5").path)
    assert dataset.env_args == ENV_ARGS | {"env_kwargs": {}}


def test_episodes_without_a_final_observation_are_counted(tmp_path):
    path = tmp_path / "a.hdf5"
    episodes = [made_episode(0), made_episode(1, final=False, ended="reset", success=None)]
    write_shard(path, episodes, env_args=ENV_ARGS)
    conversion = export_robomimic(Dataset(path), tmp_path / "out.hdf5")
    (note,) = conversion.notes
    assert note.startswith("1 of 2 episodes have no final observation")
    converted = Dataset(conversion.path)[1].arrays
    assert np.array_equal(converted["next_obs/policy"][-1], converted["obs/policy"][-1])
    assert not converted["dones"].any()


def test_names_that_would_collide_are_refused(tmp_path):
    episode = made_episode(0)
    episode.arrays["obs/robot_joints"] = np.zeros((5, 2))
    write_shard(tmp_path / "a.hdf5", [episode], env_args={})
    with pytest.raises(DatasetError, match="two observations that would be named 'robot_joints'"):
        export_robomimic(Dataset(tmp_path / "a.hdf5"), tmp_path / "out.hdf5")
    assert {p.name for p in tmp_path.iterdir()} == {"a.hdf5"}
