"""Folders that were recorded into, read back."""

import json
import shutil

import numpy as np
import pytest

from holdstep.cli import main
from holdstep.errors import ConfigError, DatasetError
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.columns import Column, RowLayout
from holdstep.wrappers.record.store import EpisodeStore
from holdstep.wrappers.record.tools.merge import merge
from holdstep.wrappers.record.tools.validate import validate
from tests.wrappers.record.made_episodes import ENV_ARGS

LAYOUT = RowLayout(
    [
        Column("actions", "float32", (2,), "step"),
        Column("rewards", "float32", (), "step"),
        Column("obs/policy", "float32", (4,), "observation"),
    ]
)


def opened(path, **options):
    return EpisodeStore(path, layout=LAYOUT, attributes={"env_args": ENV_ARGS}, **options)


def packed(actions, rewards, observations):
    words = np.zeros((len(observations), LAYOUT.num_words), np.int32)
    for name, values in (
        ("actions", actions),
        ("rewards", rewards),
        ("obs/policy", observations),
    ):
        place = LAYOUT.place(name)
        flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
        words[:, place.begin : place.end] = flat.view(np.int32)
    return words, np.zeros((len(words), LAYOUT.num_bytes), np.uint8)


def add_episode(store, number, num_steps=4, *, success=True):
    """One whose values tell its number and their time."""
    times = np.arange(num_steps + 1)
    observations = number + times[:, None] / 100 + np.zeros((1, 4))
    actions = number + times[1:, None] / 100 + np.zeros((1, 2))
    words, bytes_ = packed(np.zeros((1, 2)), np.zeros(1), observations[:1])
    uid = store.begin(0, words[0], bytes_[0], {"number": number})
    words, bytes_ = packed(actions, np.ones(num_steps), observations[1:])
    store.append(uid, words, bytes_)
    store.end(uid, ended="reset", success=success, attributes={}, final=None)
    store.commit()


def test_attributes_of_a_later_run_are_never_dropped(tmp_path):
    def run(**attributes):
        attributes = {"env_args": ENV_ARGS, "versions": {"python": "3"}} | attributes
        EpisodeStore(tmp_path / "demos", layout=LAYOUT, attributes=attributes).close()

    run(operator="Ada", gains=(1, 2))
    run(operator="Ada", gains=(1, 2), versions={"python": "4"})
    run()
    with pytest.raises(ConfigError, match="'operator' is 'Ada' there and 'Grace' now"):
        run(operator="Grace")
    with pytest.raises(ConfigError, match="'shift' is only in the new one"):
        run(operator="Ada", shift="night")


def record(path, numbers, *, compact=True, success=lambda number: True, **options):
    store = opened(path, **options)
    for number in numbers:
        add_episode(store, number, success=success(number))
    store.close(compact=compact)


def numbers_in(dataset):
    for episode in dataset:
        number = episode.attributes["number"]
        times = number + np.arange(5) / 100
        assert np.allclose(episode.arrays["obs/policy"][:, 0], times[:-1])
        assert np.allclose(episode.arrays["actions"][:, 0], times[1:])
        assert np.allclose(episode.arrays["final_obs/policy"], times[-1])
    return [episode.attributes["number"] for episode in dataset]


def test_a_recording_of_several_files(tmp_path):
    record(tmp_path / "demos", range(6), shard_bytes=1)
    dataset = Dataset(tmp_path / "demos")
    assert len(dataset.files) == 6
    assert numbers_in(dataset) == list(range(6))
    assert (dataset.total_steps, dataset.pending) == (24, None)
    assert dataset.env_args == ENV_ARGS
    assert dataset.file_of(2) == dataset.files[2]
    assert validate(tmp_path / "demos").problems == ()


def test_a_recording_that_went_on(tmp_path):
    record(tmp_path / "demos", range(2))
    before = Dataset(tmp_path / "demos")
    record(tmp_path / "demos", range(2, 5))
    assert numbers_in(before) == [0, 1]  # as it was opened
    assert numbers_in(Dataset(tmp_path / "demos")) == [0, 1, 2, 3, 4]
    assert validate(tmp_path / "demos").problems == ()


def test_more_in_the_journal(tmp_path, capsys):
    record(tmp_path / "demos", range(2))
    record(tmp_path / "demos", range(2, 5), compact=False)
    dataset = Dataset(tmp_path / "demos")
    assert numbers_in(dataset) == [0, 1]
    assert "3 finished episodes are in the journal" in dataset.pending
    assert "holdstep dataset repair" in dataset.pending
    assert main(["dataset", "info", str(tmp_path / "demos")]) == 0
    assert "3 finished episodes" in capsys.readouterr().out
    assert main(["dataset", "repair", str(tmp_path / "demos")]) == 0
    assert "5 episodes, 3 of them out of the journal" in capsys.readouterr().out
    dataset = Dataset(tmp_path / "demos")
    assert numbers_in(dataset) == [0, 1, 2, 3, 4]
    assert dataset.pending is None


def test_what_is_in_a_file_is_not_waiting(tmp_path):
    """A crash may leave a journal behind whose episodes are in files already."""
    record(tmp_path / "demos", range(3), compact=False)
    shutil.copytree(tmp_path / "demos" / "journal", tmp_path / "kept")
    assert main(["dataset", "repair", str(tmp_path / "demos")]) == 0
    shutil.copytree(tmp_path / "kept", tmp_path / "demos" / "journal", dirs_exist_ok=True)
    dataset = Dataset(tmp_path / "demos")
    assert numbers_in(dataset) == [0, 1, 2]
    assert dataset.pending is None


def test_nothing_in_a_file_yet(tmp_path):
    record(tmp_path / "demos", [0], compact=False)
    dataset = Dataset(tmp_path / "demos")
    assert len(dataset) == 0
    assert "1 finished episodes" in dataset.pending


@pytest.mark.parametrize("success_filter", ["all", "split"])
def test_by_success(tmp_path, success_filter):
    record(
        tmp_path / "demos",
        range(6),
        success=lambda number: [True, False, None][number % 3],
        success_filter=success_filter,
    )
    assert sorted(numbers_in(Dataset(tmp_path / "demos"))) == list(range(6))
    assert numbers_in(Dataset(tmp_path / "demos", success="succeeded")) == [0, 3]
    assert numbers_in(Dataset(tmp_path / "demos", success="failed")) == [1, 2, 4, 5]
    assert validate(tmp_path / "demos").problems == ()


def test_a_run_of_several_processes(tmp_path):
    """Numbers and names of episodes repeat from one process to the next."""
    for rank in (1, 0):
        record(tmp_path / "demos" / f"rank-0000{rank}", [10 * rank, 10 * rank + 1])
    dataset = Dataset(tmp_path / "demos")
    assert numbers_in(dataset) == [0, 1, 10, 11]
    assert [e.name for e in dataset] == ["demo_0", "demo_1"] * 2
    assert dataset.pending is None
    assert validate(tmp_path / "demos").problems == ()
    merged = Dataset(merge([dataset], tmp_path / "all.hdf5"))
    assert [e.name for e in merged] == ["demo_0", "demo_1", "demo_2", "demo_3"]
    assert numbers_in(merged) == [0, 1, 10, 11]


def test_a_recording_into_one_file(tmp_path):
    record(tmp_path / "demos.hdf5", range(2))
    assert numbers_in(Dataset(tmp_path / "demos.hdf5")) == [0, 1]
    record(tmp_path / "demos.hdf5", range(2, 5), compact=False)
    dataset = Dataset(tmp_path / "demos.hdf5")
    assert numbers_in(dataset) == [0, 1]
    assert "3 finished episodes" in dataset.pending
    assert main(["dataset", "repair", str(tmp_path / "demos.hdf5")]) == 0
    dataset = Dataset(tmp_path / "demos.hdf5")
    assert (numbers_in(dataset), dataset.pending) == ([0, 1, 2, 3, 4], None)


@pytest.fixture
def folder(tmp_path):
    record(tmp_path / "demos", range(3), shard_bytes=1)
    return tmp_path / "demos"


def found_in(folder):
    return [problem.what for problem in validate(folder).problems]


def test_every_flipped_bit_is_found(folder):
    shard = folder / "shards" / "episodes-000001.hdf5"
    whole = shard.read_bytes()
    chance = np.random.default_rng(0)
    for position in chance.integers(0, len(whole), 40):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(chance.integers(8))
        shard.write_bytes(damaged)
        assert any("its content is not what was written" in what for what in found_in(folder))
    shard.write_bytes(whole)
    assert found_in(folder) == []


def test_a_file_that_is_cut_off(folder):
    shard = folder / "shards" / "episodes-000001.hdf5"
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-1])
    assert f"it has {size - 1} bytes, and had {size} when it was written" in found_in(folder)


def test_a_file_that_is_missing(folder):
    (folder / "shards" / "episodes-000001.hdf5").unlink()
    assert found_in(folder) == ["episodes-000001.hdf5 is missing, with 1 episodes"]
    dataset = Dataset(folder)
    with pytest.raises(FileNotFoundError, match="episodes-000001"):
        dataset[1]


def test_a_file_that_no_list_knows(folder):
    shards = folder / "shards"
    shutil.copy(shards / "episodes-000001.hdf5", shards / "episodes-000009.hdf5")
    (problem,) = found_in(folder)
    assert problem.startswith("episodes-000009.hdf5 is in no list of the recording")
    assert numbers_in(Dataset(folder)) == [0, 1, 2]


def test_a_list_that_says_otherwise(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][1]["episodes"][0] |= {"num_steps": 9, "success": False}
    manifest["shards"][2]["episodes"][0] |= {"uid": 0}
    manifest["shards"][2]["episodes"] += [manifest["shards"][2]["episodes"][0] | {"name": "demo_9"}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert [what.partition(",")[0] for what in found_in(folder)] == [
        "its num_steps is 4",
        "its success is True",
        "it has the uid 0 of another episode",
        "demo_9 is in the list of the recording",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", "{"),
        ("manifest.json", '{"format_version": 99}'),
        ("manifest.json", '{"format_version": 1, "shards": [{"file": 3}]}'),
        ("dataset.json", "[]"),
        ("dataset.json", '{"format": "holdstep recording", "format_version": 1}'),
    ],
)
def test_lists_that_are_damaged(folder, name, content, capsys):
    (folder / name).write_text(content)
    for call in (Dataset, validate):
        with pytest.raises(DatasetError, match=name.replace(".", r"\.") + "|attributes"):
            call(folder)
    assert main(["dataset", "info", str(folder)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_list_that_leads_out_of_the_folder(folder, tmp_path):
    shutil.copy(folder / "shards" / "episodes-000000.hdf5", tmp_path / "other.hdf5")
    manifest = json.loads((folder / "manifest.json").read_text())
    for path in ("../other.hdf5", str(tmp_path / "other.hdf5")):
        manifest["shards"][0]["file"] = path
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(DatasetError, match="is no file in its folder"):
            Dataset(folder)
