"""The folders of several processes, and the list of all their files."""

import dataclasses
import shutil

import pytest
import torch

from holdstep.cli import main
from holdstep.distributed import Rank
from holdstep.envs import make
from holdstep.errors import DatasetError
from holdstep.wrappers import RecordEpisodes
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.acknowledged import acknowledged_attributes
from holdstep.wrappers.record.manifest import Manifest
from holdstep.wrappers.record.ranks import (
    list_problem,
    listing,
    merge_manifests,
    rank_folders,
    rank_share,
    recorded_ranks,
)
from tests.docs.pages import blocks_of
from tests.docs.running import run_block
from tests.wrappers.record.test_dataset_folders import add_episode, opened


@pytest.fixture
def demos(tmp_path):
    """A dataset of two ranks, with 2 and 3 episodes."""
    for rank, num_episodes in ((0, 2), (1, 3)):
        record(tmp_path / f"rank-0000{rank}", num_episodes)
    merge_manifests(tmp_path)
    return tmp_path


def record(path, num_episodes, *, killed=False):
    path.parent.mkdir(exist_ok=True)
    store = opened(path)
    for number in range(num_episodes):
        add_episode(store, number)
    if killed:
        store.abandon()
    else:
        store.close()


def problems(path, capsys):
    status = main(["dataset", "validate", str(path)])
    return status, capsys.readouterr().out


def test_the_list_is_checked(demos, capsys):
    assert list_problem(demos) is None
    assert problems(demos, capsys)[0] == 0
    record(demos / "rank-00002", 1)
    status, printed = problems(demos, capsys)
    assert status == 1
    assert "6 episodes in 3 files: 1 problems" in printed
    assert "lacks 1 of the ranks' 3 files, and lists 0 that are" in list_problem(demos)
    merge_manifests(demos)
    assert list_problem(demos) is None
    shutil.rmtree(demos / "rank-00002")
    assert "lacks 0 of the ranks' 2 files, and lists 1 that" in list_problem(demos)
    (demos / "manifest.json").write_text("{")
    assert "manifest.json is damaged" in list_problem(demos)
    (demos / "manifest.json").unlink()  # nobody has ended yet: nothing that could mislead
    assert list_problem(demos) is None
    assert list_problem(demos / "rank-00000") is None, "of one process: its own list"


def test_a_repair_takes_all_ranks(demos, capsys):
    record(demos / "rank-00001", 4, killed=True)
    (demos / "rank-00002" / "journal").mkdir(parents=True)  # was killed when it had just begun
    assert recorded_ranks(demos) == rank_folders(demos)[:2]
    with Dataset(demos) as dataset:
        assert "4 finished episodes" in dataset.pending
    assert main(["dataset", "repair", str(demos)]) == 0
    printed = capsys.readouterr().out
    assert "rank-00000: 2 episodes, 0 of them" in printed
    assert "rank-00001: 7 episodes, 4 of them out of the journal" in printed
    assert problems(demos, capsys)[0] == 0
    with Dataset(demos) as dataset:
        assert (len(dataset), dataset.pending) == (9, None)
    assert sum(1 for _ in Manifest.read(demos / "manifest.json").episodes()) == 9


def test_damage_in_any_rank_is_told(demos, capsys):
    (shard,) = (demos / "rank-00000" / "shards").iterdir()
    shard.unlink()
    assert main(["dataset", "repair", str(demos)]) == 1
    assert "is missing" in capsys.readouterr().out


def test_shares_of_fewer_and_of_more_ranks(demos):
    assert [rank_share(Rank(number, 2), demos, 11) for number in range(2)] == [6, 5]
    assert rank_share(Rank(0, 1), demos, 11) == 8, "3 are in the folder of rank 1"
    assert rank_share(Rank(0, 1), demos, 2) == 0
    assert [rank_share(Rank(number, 4), demos, 11) for number in range(4)] == [3, 3, 3, 2]


def test_shares_count_what_a_rank_that_died_has_in_its_journal(demos):
    record(demos / "rank-00001", 2, killed=True)
    assert rank_share(Rank(0, 1), demos, 11) == 6, "5 are in the folder of rank 1"
    assert [rank_share(Rank(number, 2), demos, 11) for number in range(2)] == [6, 5]


def test_attributes_are_told_of_files_and_journals(demos):
    record(demos / "rank-00001", 2, killed=True)
    record(demos / "rank-00002", 1, killed=True)
    (demos / "rank-00003" / "journal").mkdir(parents=True)  # was killed when it had just begun
    numbers = [told["number"] for told in acknowledged_attributes(demos)]
    assert sorted(numbers) == [0, 0, 0, 0, 1, 1, 1, 2]
    assert acknowledged_attributes(demos / "nowhere") == []
    next((demos / "rank-00000" / "shards").iterdir()).write_bytes(b"nothing")
    with pytest.raises(DatasetError):
        acknowledged_attributes(demos)


def test_the_example_of_the_docs_records_other_episodes_when_it_is_started_again(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RecordEpisodes.__init__.__kwdefaults__, "writer", "thread")
    (block,) = (b for b in blocks_of("scale", "python") if "rank_folder(rank" in b.text)
    for num_episodes in (4, 8):
        env = make("holdstep:PointMass", num_envs=2, device="cpu", seed=0)
        given = {"rank": Rank(), "env": env, "policy": lambda obs: torch.zeros(2, 2)}
        text = block.text.replace("max_episodes=8", f"max_episodes={num_episodes}")
        run_block(dataclasses.replace(block, text=text), given)
    starts = {episode.arrays["obs/policy"][0].tobytes() for episode in Dataset("demos")}
    assert len(starts) == 8


def test_a_rank_that_fails_lists_what_it_has_recorded(tmp_path):
    def record_and_fail():
        with listing(tmp_path / "rank-00000", tmp_path):
            record(tmp_path / "rank-00000", 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_and_fail()
    assert sum(1 for _ in Manifest.read(tmp_path / "manifest.json").episodes()) == 2
