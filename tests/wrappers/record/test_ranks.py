"""The folders of several processes, and the list of all their files."""

import shutil

import pytest

from holdstep.cli import main
from holdstep.distributed import Rank
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.manifest import Manifest
from holdstep.wrappers.record.ranks import (
    list_problem,
    listing,
    merge_manifests,
    rank_folders,
    rank_share,
    recorded_ranks,
)
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


def test_a_rank_that_fails_lists_what_it_has_recorded(tmp_path):
    def record_and_fail():
        with listing(tmp_path / "rank-00000", tmp_path):
            record(tmp_path / "rank-00000", 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_and_fail()
    assert sum(1 for _ in Manifest.read(tmp_path / "manifest.json").episodes()) == 2
