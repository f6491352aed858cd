"""Datasets that lerobot itself loads. Run by `make lerobot`; skipped where lerobot is missing."""

import json

import numpy as np
import pytest
import torch

from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.formats.lerobot import export_lerobot
from tests.policies.lerobot.conftest import lerobot
from tests.wrappers.record.made_episodes import ENV_ARGS, made_episode

__all__ = ["lerobot"]  # a fixture

parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'convert' is not installed")


@pytest.fixture
def dataset_class(lerobot):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def recorded(path, episodes):
    write_shard(path, episodes, env_args=ENV_ARGS)
    return Dataset(path)


def rows_of(episodes, path):
    return torch.as_tensor(np.concatenate([episode.arrays[path] for episode in episodes]))


def test_lerobot_loads_every_value(dataset_class, tmp_path):
    episodes = [
        made_episode(n, 3 + 2 * n, success=n > 0, ended="truncated", image=(12, 10, 3),
                     attributes={"instruction": ["lift", "push"][n % 2]})
        for n in range(4)
    ]  # fmt: skip
    for episode in episodes:
        del episode.arrays["obs/robot/joints"]
    out = tmp_path / "converted"
    export_lerobot(recorded(tmp_path / "a.hdf5", episodes), out)
    loaded = dataset_class("holdstep/test", root=out)
    assert (loaded.fps, loaded.num_episodes) == (50, 4)
    assert len(loaded) == sum(e.num_steps for e in episodes)
    assert loaded.meta.tasks.index.tolist() == ["lift", "push"]
    items = [loaded[index] for index in range(len(loaded))]
    stacked = {key: torch.stack([item[key] for item in items]) for key in items[0] if key != "task"}
    assert torch.equal(stacked["action"], rows_of(episodes, "actions"))
    assert torch.equal(stacked["observation.state"], rows_of(episodes, "obs/policy"))
    assert torch.equal(stacked["next.reward"], rows_of(episodes, "rewards"))
    assert torch.equal(stacked["next.done"], rows_of(episodes, "truncated"))
    frames = rows_of(episodes, "obs/front").permute(0, 3, 1, 2) / 255  # lossless
    assert torch.equal(stacked["observation.images.front"], frames)
    ends = np.cumsum([e.num_steps for e in episodes]) - 1
    success = torch.zeros(len(loaded), dtype=torch.bool)
    success[ends[1:]] = True
    assert torch.equal(stacked["next.success"], success)
    assert [item["task"] for item in items] == [
        e.attributes["instruction"] for e in episodes for _ in range(e.num_steps)
    ]
    expected = torch.cat([torch.arange(e.num_steps) for e in episodes])
    assert torch.equal(stacked["frame_index"], expected)
    assert torch.allclose(stacked["timestamp"], expected / 50)
    assert torch.equal(stacked["index"], torch.arange(len(loaded)))


def test_windows_of_time_stay_within_an_episode(dataset_class, tmp_path):
    episodes = [made_episode(n, 6) for n in range(2)]
    export_lerobot(recorded(tmp_path / "a.hdf5", episodes), tmp_path / "out")
    loaded = dataset_class(
        "holdstep/test", root=tmp_path / "out", delta_timestamps={"action": [-0.02, 0.0, 0.02]}
    )
    item = loaded[6]  # the first of the second episode
    actions = torch.as_tensor(episodes[1].arrays["actions"])
    assert torch.equal(item["action"], actions[[0, 0, 1]])
    assert item["action_is_pad"].tolist() == [True, False, False]


def test_some_episodes_only(dataset_class, tmp_path):
    episodes = [made_episode(n, 4) for n in range(3)]
    export_lerobot(recorded(tmp_path / "a.hdf5", episodes), tmp_path / "out")
    loaded = dataset_class("holdstep/test", root=tmp_path / "out", episodes=[1])
    assert len(loaded) == 4
    action = torch.stack([loaded[i]["action"] for i in range(4)])
    assert torch.equal(action, torch.as_tensor(episodes[1].arrays["actions"]))


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (2, 3, 2), (6, 5, 1)])
@pytest.mark.parametrize("dtype", ["f4", "f2", "i8", "u1", "bool"])
def test_arrays_of_any_shape(dataset_class, tmp_path, shape, dtype):
    episodes = []
    for number in range(2):
        episode = made_episode(number, 3)
        values = np.random.default_rng(number).integers(0, 2, (3, *shape)).astype(dtype)
        episode.arrays["obs/other"] = values
        episodes.append(episode)
    keys = {"actions": "action", "obs/other": "observation.other"}
    export_lerobot(recorded(tmp_path / "a.hdf5", episodes), tmp_path / "out", keys=keys)
    loaded = dataset_class("holdstep/test", root=tmp_path / "out")
    found = np.stack([np.asarray(loaded[i]["observation.other"]) for i in range(6)])
    expected = np.concatenate([e.arrays["obs/other"] for e in episodes])
    assert np.array_equal(found.reshape(expected.shape), expected)


def test_statistics_are_lerobots_own(dataset_class, tmp_path):
    """Those of lerobot's own way of writing the same episodes, up to how it bins quantiles."""
    episodes = [made_episode(n, 60 + 20 * n, image=(12, 10, 3)) for n in range(3)]
    keys = {
        "actions": "action",
        "obs/policy": "observation.state",
        "obs/front": "observation.images.front",
    }
    recording = recorded(tmp_path / "a.hdf5", episodes)
    export_lerobot(recording, tmp_path / "ours", keys=keys, task="lift")
    features = json.loads((tmp_path / "ours/meta/info.json").read_text())["features"]
    features = {
        k: v | {"shape": tuple(v["shape"])} for k, v in features.items() if k in keys.values()
    }
    theirs = dataset_class.create(
        "holdstep/test", 50, features, root=tmp_path / "theirs", use_videos=False
    )
    for episode in episodes:
        for step in range(episode.num_steps):
            frame = {name: episode.arrays[path][step] for path, name in keys.items()}
            theirs.add_frame(frame | {"task": "lift"})
        theirs.save_episode()
    theirs.finalize()
    ours = dataset_class("holdstep/test", root=tmp_path / "ours").meta
    theirs = dataset_class("holdstep/test", root=tmp_path / "theirs").meta
    assert set(ours.info) == set(theirs.info)
    assert ours.info["features"] == theirs.info["features"]
    assert set(ours.episodes.features) >= set(theirs.episodes.features)
    for name, stats in theirs.stats.items():
        assert set(ours.stats[name]) == set(stats)
        for statistic, value in stats.items():
            found = ours.stats[name][statistic]
            assert found.shape == value.shape, (name, statistic)
            if (name, statistic) == ("observation.images.front", "std"):
                # lerobot 0.4.4 squares uint8 here, which overflows.
                pixels = np.concatenate([e.arrays["obs/front"] for e in episodes]) / 255
                assert np.allclose(found.ravel(), pixels.reshape(-1, 3).std(0), atol=0.01)
            elif statistic == "count":
                assert found.tolist() == value.tolist(), name
            else:
                spread = stats["max"] - stats["min"]
                assert np.all(np.abs(found - value) <= 0.02 * spread + 1e-6), (name, statistic)


@pytest.fixture
def small_files(monkeypatch):
    """A new file for each episode, as for very large ones."""
    from holdstep.wrappers.record.formats import lerobot, lerobot_places, lerobot_video

    monkeypatch.setattr(lerobot, "_DATA_FILE_MB", 0)
    monkeypatch.setattr(lerobot_video, "_RAW_VIDEO_MB", 0)
    monkeypatch.setattr(lerobot, "_EPISODES_PER_FLUSH", 2)
    for module in (lerobot, lerobot_places, lerobot_video):
        monkeypatch.setattr(module, "FILES_PER_CHUNK", 2)


def test_many_files(dataset_class, tmp_path, small_files):
    episodes = [made_episode(n, 2 + n, image=(4, 4, 3)) for n in range(5)]
    out = tmp_path / "out"
    export_lerobot(recorded(tmp_path / "a.hdf5", episodes), out)
    assert len(list(out.glob("data/chunk-*/file-*.parquet"))) == 5
    assert len(list(out.glob("data/chunk-002/file-000.parquet"))) == 1
    loaded = dataset_class("holdstep/test", root=out)
    actions = torch.stack([loaded[i]["action"] for i in range(len(loaded))])
    assert torch.equal(actions, rows_of(episodes, "actions"))
    for number in range(5):
        table = parquet.read_table(out / loaded.meta.get_data_file_path(number))
        assert set(table["episode_index"].to_pylist()) == {number}


@pytest.mark.parametrize("files", ["one", "many"])
def test_video(dataset_class, tmp_path, request, files):
    """Decoded here: torchvision's reader, which lerobot uses, is gone from its newer versions."""
    pytest.importorskip("imageio_ffmpeg", reason="the extra 'video' is not installed")
    av = pytest.importorskip("av", reason="lerobot's decoder is not installed")
    if files == "many":
        request.getfixturevalue("small_files")
    episodes = [made_episode(n, 7 + n, image=(48, 64, 3)) for n in range(3)]
    for number, episode in enumerate(episodes):  # noise is what no video codec can keep
        ramp = np.linspace(0, 200, 64, dtype=np.uint8)[None, :, None]
        for step in range(episode.num_steps):
            episode.arrays["obs/front"][step] = ramp + np.uint8(5 * step + number)
    out = tmp_path / "out"
    key = "observation.images.front"
    export_lerobot(recorded(tmp_path / "a.hdf5", episodes), out, video=True)
    assert len(list(out.rglob("*.mp4"))) == (1 if files == "one" else 3)
    meta = dataset_class("holdstep/test", root=out).meta
    assert meta.video_keys == [key]
    for number, episode in enumerate(episodes):
        place = meta.episodes[number]
        file = out / meta.get_video_file_path(number, key)
        with av.open(str(file)) as container:
            frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
        for step in range(episode.num_steps):
            wanted = place[f"videos/{key}/from_timestamp"] + step / 50
            (frame,) = [frame for time, frame in frames if abs(time - wanted) < 1e-4]
            difference = frame.astype(int) - episode.arrays["obs/front"][step]
            assert np.abs(difference).mean() < 3
        length = place[f"videos/{key}/to_timestamp"] - place[f"videos/{key}/from_timestamp"]
        assert length == pytest.approx(episode.num_steps / 50)
