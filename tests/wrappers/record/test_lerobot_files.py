"""What can be said of converted LeRobot datasets without lerobot, which loads them elsewhere.

`make lerobot` runs tests/lerobot_datasets.
"""

import json

import numpy as np
import pytest

from holdstep.errors import DatasetError
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.formats.lerobot import export_lerobot, steps_per_second
from holdstep.wrappers.record.formats.lerobot_stats import TotalStats, array_stats, image_stats
from tests.wrappers.record.made_episodes import ENV_ARGS, made_episode

parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'convert' is not installed")


def recorded(path, episodes, env_args=ENV_ARGS):
    write_shard(path, episodes, env_args=env_args)
    return Dataset(path)


def features_of(out):
    return json.loads((out / "meta" / "info.json").read_text())["features"]


def test_the_usual_features(tmp_path):
    dataset = recorded(tmp_path / "a.hdf5", [made_episode(0, image=(4, 6, 3))])
    export_lerobot(dataset, tmp_path / "out")
    assert set(features_of(tmp_path / "out")) == {
        "action", "observation.policy", "observation.robot.joints", "observation.images.front",
        "next.reward", "next.done", "next.success",
        "timestamp", "frame_index", "episode_index", "index", "task_index",
    }  # fmt: skip
    table = parquet.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    actions = np.array(table["action"].to_pylist(), np.float32)
    assert np.array_equal(actions, made_episode(0).arrays["actions"])


def test_arrays_of_several_axes_are_lists_in_one_another(tmp_path):
    episode = made_episode(0)
    values = np.arange(5 * 2 * 3 * 4, dtype=np.float32).reshape(5, 2, 3, 4)
    episode.arrays["obs/other"] = values
    dataset = recorded(tmp_path / "a.hdf5", [episode])
    export_lerobot(dataset, tmp_path / "out", keys={"obs/other": "other"})
    table = parquet.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    assert table["other"].to_pylist() == values.tolist()


def test_success_is_a_feature_only_where_it_is_known_of_all(tmp_path):
    dataset = recorded(tmp_path / "a.hdf5", [made_episode(0), made_episode(1, success=None)])
    export_lerobot(dataset, tmp_path / "out")
    assert "next.success" not in features_of(tmp_path / "out")
    with pytest.raises(DatasetError, match="no array 'succeeded'"):
        export_lerobot(dataset, tmp_path / "other", keys={"succeeded": "next.success"})


@pytest.mark.parametrize(
    ("sim_args", "fps"),
    [
        ({"dt": 0.005, "decimation": 4}, 50),
        ({"step_dt": 0.02}, 50),
        ({"step_dt": 1 / 30, "dt": 0.1, "decimation": 7}, 30),
        ({"dt": 1 / 120, "decimation": 2}, 60),
    ],
)
def test_steps_per_second(sim_args, fps):
    assert steps_per_second({"sim_args": sim_args}) == fps


@pytest.mark.parametrize(
    ("env_args", "message"),
    [
        ({}, "does not say how long a step is"),
        ({"sim_args": 3}, "does not say"),
        ({"sim_args": {"dt": "x", "decimation": 2}}, "does not say"),
        ({"sim_args": {"step_dt": 0}}, "does not say"),
        ({"sim_args": {"step_dt": 0.03}}, "33.3333 steps per second"),
        ({"sim_args": {"step_dt": 4.0}}, "0.25 steps per second"),
    ],
)
def test_steps_per_second_that_are_not_known(tmp_path, env_args, message):
    dataset = recorded(tmp_path / "a.hdf5", [made_episode(0)], env_args)
    with pytest.raises(DatasetError, match=message):
        export_lerobot(dataset, tmp_path / "out")
    export_lerobot(dataset, tmp_path / "out", fps=10)


@pytest.mark.parametrize("position", [0, 1])
def test_episodes_that_are_not_alike_leave_nothing_behind(tmp_path, position):
    other = made_episode(1)
    other.arrays["obs/policy"] = np.zeros((5, 9), np.float32)
    episodes = [made_episode(0), other] if position else [other, made_episode(0)]
    dataset = recorded(tmp_path / "a.hdf5", episodes)
    with pytest.raises(DatasetError, match=r"obs/policy is float32 \(5, "):
        export_lerobot(dataset, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"a.hdf5"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"obs/policy": "a/b"}, "'a/b' can't be the name"),
        ({"obs/policy": "index"}, "'index' can't be the name"),
        ({"obs/policy": "a", "actions": "a"}, "'a' can't be the name"),
        ({"final_obs/policy": "a"}, "no array 'final_obs/policy'"),
    ],
)
def test_names_that_can_not_be(tmp_path, keys, message):
    dataset = recorded(tmp_path / "a.hdf5", [made_episode(0)])
    with pytest.raises(DatasetError, match=message):
        export_lerobot(dataset, tmp_path / "out", keys=keys)


def test_images_of_odd_size_are_no_video(tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="the extra 'video' is not installed")
    dataset = recorded(tmp_path / "a.hdf5", [made_episode(0, image=(5, 6, 3))])
    with pytest.raises(DatasetError, match="both sides must be even"):
        export_lerobot(dataset, tmp_path / "out", video=True)
    assert not (tmp_path / "out").exists()


def test_statistics_of_parts_are_those_of_the_whole():
    random = np.random.default_rng(0)
    parts = [random.normal(number, 1 + number, size=(n, 3)) for number, n in enumerate([4, 9, 30])]
    frames = [random.integers(0, 256, (n, 4, 5, 3), np.uint8) for n in (2, 5, 7)]
    total = TotalStats()
    for values, images in zip(parts, frames, strict=True):
        total.add({"x": array_stats(values), "image": image_stats(images)})
    found = total.to_json()
    whole = np.concatenate(parts)
    pixels = np.concatenate(frames).reshape(-1, 3) / 255
    for name, values in (("x", whole), ("image", pixels)):
        for statistic, expected in (
            ("min", values.min(0)),
            ("max", values.max(0)),
            ("mean", values.mean(0)),
            ("std", values.std(0)),
        ):
            assert np.allclose(np.ravel(found[name][statistic]), expected), (name, statistic)
    assert found["x"]["count"] == [43]
    assert found["image"]["count"] == [14]
    assert np.shape(found["image"]["mean"]) == (3, 1, 1)
