"""What a store keeps, refuses and reports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from holdstep.errors import ConfigError, DatasetError, RecordingError
from holdstep.wrappers.record.columns import Column, RowLayout
from holdstep.wrappers.record.formats.hdf5 import write_shard
from holdstep.wrappers.record.growth import Growth
from holdstep.wrappers.record.manifest import Manifest
from holdstep.wrappers.record.store import EpisodeStore, UnderWay
from tests.wrappers.record.faulty_files import ForgetfulFiles
from tests.wrappers.record.made_episodes import ENV_ARGS, made_episode
from tests.wrappers.record.store_model import ATTRIBUTES, LAYOUT, Driver, check, read_all, recover


def driver_for(path, **options):
    driver = Driver(path, files=ForgetfulFiles(), **options)
    driver.open()
    return driver


def record_one(driver, row=0, *, num_steps=3, **how):
    driver.begin(row)
    driver.append(row, num_steps)
    driver.end(row, **how)


@pytest.mark.parametrize("durability", ["memory", "os", "disk"])
def test_what_is_recorded_is_what_is_read(tmp_path, durability):
    driver = driver_for(tmp_path / "demos", durability=durability)
    record_one(driver, success=True)
    record_one(driver, ended="truncated", success=False, final=False)
    record_one(driver, 1, ended="reset", success=None, final=False)
    record_one(driver, 2, ended="closed", success=None, final=True, num_steps=1)
    driver.begin(3)
    driver.end(3)  # without a step
    assert driver.store.acknowledged == (4 if durability == "memory" else 0)
    driver.commit()
    assert driver.store.acknowledged == 4
    assert driver.store.num_episodes == 4
    assert driver.store.num_succeeded == 1
    assert driver.store.durable == driver.store.num_durable == 4 * (durability == "disk")
    assert driver.store.num_steps == 10
    assert driver.store.num_bytes == 10 * LAYOUT.row_bytes
    driver.close()
    assert driver.store.durable == driver.store.num_durable == 4
    check(read_all(driver.path), driver)
    driver.store.close()
    with pytest.raises(RecordingError, match="closed"):
        driver.store.commit()


def test_a_folder_is_gone_on_with(tmp_path):
    driver = driver_for(tmp_path / "demos")
    for run in range(3):
        record_one(driver, success=bool(run))
        driver.close(compact=run != 1)
        driver.open()
        assert driver.store.num_episodes == run + 1
        assert driver.store.num_succeeded == run
        assert driver.store.acknowledged == 0
        assert driver.store.recovery.num_recovered == (run == 1)
    driver.close()
    found = read_all(driver.path)
    check(found, driver)
    assert sorted(episode.name for episode in found.values()) == ["demo_0", "demo_1", "demo_2"]


def test_a_file_that_exists_keeps_what_is_in_it(tmp_path):
    path = tmp_path / "demos.hdf5"
    old = [made_episode(number) for number in range(3)]
    write_shard(path, old, env_args=ENV_ARGS)
    for run in (1, 2):
        driver = driver_for(path)
        record_one(driver)
        driver.close()
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["demos.hdf5"]
        found = {e.name: e for e in read_all(path).values()}
        assert len(found) == 3 + run
        check({e.attributes["uid"]: e for e in [found[f"demo_{2 + run}"]]}, driver)
        for episode in old:
            for name, array in episode.arrays.items():
                assert np.array_equal(found[episode.name].arrays[name], array)
        with h5py.File(path) as file:
            assert file["data"].attrs["total"] == 15 + 3 * run


def test_a_file_that_was_changed_meanwhile_is_left_alone(tmp_path):
    path = tmp_path / "demos.hdf5"
    write_shard(path, [made_episode(0)], env_args=ENV_ARGS)
    driver = driver_for(path)
    record_one(driver)
    driver.commit()
    record_one(driver)
    driver.commit()
    driver.store.compact()
    os.unlink(path)
    write_shard(path, [made_episode(0), made_episode(7)], env_args=ENV_ARGS)
    with pytest.raises(RecordingError, match="changed by something else"):
        driver.close()
    assert {"demo_0", "demo_7"} == set(read_all(path))
    assert len(recover(path, driver)) == 4


def test_no_episodes_make_an_empty_file(tmp_path):
    driver = driver_for(tmp_path / "demos.hdf5")
    driver.close()
    assert read_all(driver.path) == {}


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "demos.hdf5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(DatasetError):
        driver_for(path)
    assert path.read_bytes() == b"no HDF5"
    other = tmp_path / "other.hdf5"
    write_shard(other, [made_episode(0)], env_args={"env_name": "another"})
    with pytest.raises(ConfigError, match="'another'"):
        driver_for(other)


def test_another_schema_is_refused_with_the_differences(tmp_path):
    driver = driver_for(tmp_path / "demos")
    driver.close()
    columns = [column for column in LAYOUT if column.name not in ("rewards", "actions")]
    columns += [Column("actions", "float32", (7,), "step"), Column("extra", "bool", (), "step")]
    attributes = {"env_args": {"env_name": "another"}}
    with pytest.raises(ConfigError) as refusal:
        EpisodeStore(
            driver.path,
            layout=RowLayout(columns),
            attributes=attributes,
            success_filter="split",
        )
    for part in ("'actions' is float32 (2,)", "(7,)", "'extra'", "'rewards'", "split", "another"):
        assert part in str(refusal.value)
    driver.open()  # nothing was changed, and the lock was given back
    driver.close()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("chapter 1")
    with pytest.raises(RecordingError, match=r"thesis\.tex"):
        driver_for(tmp_path)
    with pytest.raises(RecordingError, match="is a file"):
        driver_for(tmp_path / "thesis.tex")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path):
    driver = driver_for(tmp_path / "demos")
    with pytest.raises(RecordingError, match="this very process"):
        driver_for(tmp_path / "demos")
    code = (
        "import sys\n"
        "from holdstep.wrappers.record.store import EpisodeStore\n"
        "from holdstep.wrappers.record.columns import RowLayout\n"
        "assert 'torch' not in sys.modules\n"
        "EpisodeStore(sys.argv[1], layout=RowLayout([]), attributes={})"
    )
    second = subprocess.run(
        [sys.executable, "-c", code, str(driver.path)], capture_output=True, text=True, check=False
    )
    assert f"is being written by process {os.getpid()}" in second.stderr
    record_one(driver)
    driver.close()
    check(read_all(driver.path), driver)


@pytest.mark.parametrize("success_filter", ["all", "succeeded", "failed", "split"])
def test_the_success_filter(tmp_path, success_filter):
    driver = driver_for(tmp_path / "demos", success_filter=success_filter)
    for success in (True, False, None):
        record_one(driver, success=success)
    driver.commit()
    driver.close()
    found = read_all(driver.path)
    check(found, driver)
    wanted = {"succeeded": [0], "failed": [1, 2]}.get(success_filter, [0, 1, 2])
    assert sorted(found) == wanted
    assert driver.store.num_filtered == 3 - len(wanted)
    shards = Manifest.read(driver.path / "manifest.json").shards
    families = {shard.family: len(shard.episodes) for shard in shards}
    assert families == (
        {"succeeded": 1, "failed": 2} if success_filter == "split" else {"episodes": len(wanted)}
    )


def test_split_makes_two_files_of_one(tmp_path):
    driver = driver_for(tmp_path / "demos.hdf5", success_filter="split")
    record_one(driver, success=True)
    record_one(driver, success=False)
    driver.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demos.hdf5", "demos_failed.hdf5"]
    check(read_all(driver.path), driver)


def test_discarding(tmp_path):
    driver = driver_for(tmp_path / "demos", success_filter="succeeded")
    record_one(driver, 0)
    record_one(driver, 1, success=False)
    record_one(driver, 2)
    driver.commit()
    assert driver.store.acknowledged == 2
    driver.store.compact()  # what may be discarded still is not moved
    driver.discard_last(0)
    driver.discard_last(1)  # was not kept anyway
    driver.begin(0)
    driver.discard(0)
    assert driver.store.acknowledged == driver.store.num_episodes == 1
    assert driver.store.num_succeeded == 1
    driver.commit()
    record_one(driver, 2)
    with pytest.raises(RecordingError, match="can't be discarded: only"):
        driver.store.discard(2)
    with pytest.raises(RecordingError, match="not known"):
        driver.store.append(99, *(p[None] for p in (np.zeros(0), np.zeros(0))))
    with pytest.raises(RecordingError, match="has ended"):
        driver.store.append(2, np.zeros((1, 0)), np.zeros((1, 0)))
    driver.close()
    check(read_all(driver.path), driver)


def test_a_discarded_episode_stays_away_when_its_end_outlives_its_discard(tmp_path):
    """The first segment, with its END, is kept for another row's sake."""
    driver = driver_for(tmp_path / "demos", segment_bytes=1000)
    driver.begin(9)
    driver.append(9)
    record_one(driver, 0)
    driver.commit()
    driver.discard_last(0)
    driver.commit()
    for _ in range(30):
        record_one(driver, 1)
        driver.commit()
    driver.store.compact()
    shutil.copytree(driver.path, tmp_path / "killed")
    check(recover(tmp_path / "killed", driver), driver)
    driver.close()


def test_a_writer_takes_over_from_one_that_died(tmp_path):
    driver = driver_for(tmp_path / "demos")
    record_one(driver, 0)
    driver.begin(0)
    driver.begin(1)
    driver.append(1, 4)
    driver.commit(position=7)
    left = tmp_path / "left"
    shutil.copytree(driver.path, left)
    with (left / "journal/000000.journal").open("ab") as journal:
        journal.write(b"hsj\x01 half a record")
    driver.store.append(
        1,
        *(
            np.zeros((1, n), t)
            for n, t in zip((LAYOUT.num_words, LAYOUT.num_bytes), (np.int32, np.uint8), strict=True)
        ),
    )  # of a block that is not committed
    driver.store.close(compact=False)

    driver.path = left
    store = driver.open(adopt=True)
    assert store.position == 7
    assert store.under_way == {1: UnderWay(0, 0), 2: UnderWay(1, 4)}
    assert store.recovery.cut_bytes == len(b"hsj\x01 half a record")
    assert store.num_episodes == 1
    driver.append(1, 2)
    driver.end(1)
    driver.append(0)
    driver.discard_last(0)  # of the writer before
    driver.end(0)
    driver.commit(position=8)
    assert store.num_episodes == 2
    driver.close()
    check(read_all(left), driver)


def test_without_adoption_episodes_under_way_are_dropped(tmp_path):
    driver = driver_for(tmp_path / "demos")
    driver.begin(0)
    driver.append(0, 5)
    driver.commit()
    driver.store.close(compact=False)
    store = driver.open()
    assert store.recovery.num_dropped == 1
    assert store.under_way == {}
    with pytest.raises(RecordingError, match="not known"):
        driver.end(0)
    record_one(driver, 1)
    assert driver.last[1] == 1  # numbers are not used twice
    driver.under_way.clear()
    driver.possible.pop(0)
    driver.close()
    check(read_all(driver.path), driver)


def test_the_journal_stays_small_beside_a_row_that_never_ends(tmp_path):
    driver = driver_for(tmp_path / "demos", segment_bytes=4000, shard_bytes=10_000)
    driver.begin(9)
    sizes = []
    for _ in range(120):
        driver.append(9)
        record_one(driver, 0, num_steps=5)
        driver.commit()
        driver.store.compact()
        sizes.append(sum(p.stat().st_size for p in (driver.path / "journal").iterdir()))
    needed = driver.store._journal.index.num_bytes
    # Without rewriting, it would hold all of the 120 times 900 bytes.
    assert max(sizes) < 2 * needed + 4 * 4000 < 45_000
    driver.end(9)
    driver.close()
    check(read_all(driver.path), driver)


def test_growth_is_bounded(tmp_path):
    driver = driver_for(tmp_path / "demos", max_bytes=3000)
    while not driver.store.full:
        record_one(driver)
        driver.commit()
    with pytest.raises(RecordingError, match="max_bytes=3000"):
        driver.begin(1)
    driver.close()
    check(read_all(driver.path), driver)
    assert 2 < len(driver.acknowledged) < 40


def test_growth_counts_each_episode_once_and_nothing_that_was_there(tmp_path):
    path = tmp_path / "demos.hdf5"
    write_shard(path, [made_episode(number) for number in range(3)], env_args=ENV_ARGS)
    counts = []
    max_bytes = path.stat().st_size // 4
    for compacts in (False, True):
        driver = driver_for(path, max_bytes=max_bytes)
        while not driver.store.full:
            record_one(driver)
            driver.commit()
            if compacts:
                driver.store.compact()
        counts.append(len(driver.acknowledged))
        driver.close()
    assert counts[0] == counts[1] > 2


def test_a_full_store_stays_full_when_its_episodes_become_smaller(tmp_path):
    driver = driver_for(tmp_path / "demos", max_bytes=40_000, shard_bytes=1, compression="gzip")
    driver.begin(0)
    words, bytes_ = np.zeros((1, LAYOUT.num_words), "i4"), np.zeros((1, LAYOUT.num_bytes), "u1")
    driver.store.append(driver.under_way[0].uid, words.repeat(900, 0), bytes_.repeat(900, 0))
    assert driver.store.full
    driver.store.end(
        driver.under_way[0].uid, ended="truncated", success=True, attributes={}, final=None
    )
    driver.store.commit()
    driver.store._finished.release()
    driver.store.compact()
    assert driver.store._compactor.num_bytes < 40_000
    assert driver.store.full
    driver.store.close()


def test_the_last_episode_of_a_row_is_the_last_wherever_it_lies_in_the_journal(tmp_path):
    driver = driver_for(tmp_path / "demos", segment_bytes=500)
    for _ in range(2):
        record_one(driver, num_steps=6)
        driver.commit()
    journal = driver.store._journal
    for number in range(journal.oldest_segment, journal.index[0].end[0] + 1):
        journal.copy_forward(number)  # all of the first episode
    driver.commit(position=1)
    driver.store.abandon()
    driver.open(adopt=True)
    ends = {uid: episode.end for uid, episode in driver.store._journal.index.items()}
    assert ends[0] > ends[1], "nothing was moved"
    with pytest.raises(RecordingError, match="Episode 0 can't be discarded"):
        driver.store.discard(0)
    driver.discard_last(0)
    driver.close()
    check(read_all(driver.path), driver)


def test_signs_of_life_come_while_a_long_recording_is_opened_and_moved(tmp_path):
    signs = []
    files = ForgetfulFiles(lambda: signs.append(1))
    driver = driver_for(tmp_path / "demos.hdf5", segment_bytes=500)
    for _ in range(10):
        record_one(driver)
        driver.commit()
    driver.close(compact=False)
    num_segments = len(list((tmp_path / "demos.hdf5.parts" / "journal").iterdir()))
    driver.open(files=files)
    assert len(signs) >= num_segments > 3
    signs.clear()
    driver.close()
    assert len(signs) > 10  # at least one for each episode, and one for the file's checksum
    signs.clear()
    driver.open(files=files)
    record_one(driver)
    driver.close()
    assert len(signs) >= 3  # it was copied first


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="durability"):
        driver_for(tmp_path, durability="paper")
    with pytest.raises(ConfigError, match="success_filter"):
        driver_for(tmp_path, success_filter="best")
    with pytest.raises(ConfigError, match="compression"):
        driver_for(tmp_path, compression="rar")
    driver = driver_for(tmp_path)
    words, bytes_ = np.zeros(LAYOUT.num_words, np.int32), np.zeros(LAYOUT.num_bytes, np.uint8)
    with pytest.raises(ConfigError, match="int32"):
        driver.store.begin(0, words.astype(np.int64), bytes_, {})
    with pytest.raises(ConfigError, match="uint8"):
        driver.store.begin(0, words, bytes_[1:], {})
    with pytest.raises(ConfigError, match="num_samples"):
        driver.store.begin(0, words, bytes_, {"num_samples": 3})
    with pytest.raises(RecordingError, match="plain values"):
        driver.store.begin(0, words, bytes_, {"model": object()})
    uid = driver.store.begin(0, words, bytes_, {})
    with pytest.raises(ConfigError, match="ended"):
        driver.store.end(uid, ended="exploded", success=None, attributes={}, final=None)
    driver.store.close()


@pytest.mark.parametrize("victim", ["journal", "older segment", "everything", "shard"])
def test_what_is_deleted_while_it_is_recorded_is_noticed(tmp_path, victim):
    driver = driver_for(tmp_path / "demos", segment_bytes=1000, shard_bytes=1)
    record_one(driver, 0)
    record_one(driver, 0)
    driver.commit()
    driver.store.compact()
    driver.begin(5)
    for _ in range(10):
        driver.append(5, 5)
    segments = sorted((driver.path / "journal").iterdir())
    if victim == "everything":
        shutil.rmtree(driver.path)
    elif victim == "shard":
        os.unlink(driver.path / "shards/episodes-000000.hdf5")
    else:
        os.unlink(segments[-1 if victim == "journal" else -2])
    acknowledged = driver.store.acknowledged
    if victim == "shard":
        driver.end(5)
        driver.commit()
        record_one(driver, 5)
        driver.commit()
        with pytest.raises(RecordingError, match="It is gone"):
            driver.store.compact()
        driver.store.close(compact=False)
        with pytest.raises(RecordingError, match=r"episodes-000000\.hdf5, with 1 episodes"):
            driver.open()
        return
    with pytest.raises(RecordingError, match="It is gone"):
        end_and_commit(driver, 5)
    assert driver.store.acknowledged == acknowledged
    driver.store.close()


def end_and_commit(driver, row):
    driver.end(row)
    driver.commit()


def test_a_folder_that_may_not_be_written(tmp_path):
    class ReadOnlyFiles(ForgetfulFiles):
        def make_folder(self, path):
            raise PermissionError(13, "Permission denied", str(path))

    with pytest.raises(RecordingError, match="You may not write there"):
        Driver(tmp_path / "demos", files=ReadOnlyFiles()).open()
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(RecordingError, match="You may not write there"):
            Driver(tmp_path / "demos").open()
        tmp_path.chmod(0o700)


def test_steps_may_lie_anywhere_in_memory(tmp_path):
    store = EpisodeStore(tmp_path, layout=LAYOUT, attributes=ATTRIBUTES, files=ForgetfulFiles())
    words = np.arange(6 * LAYOUT.num_words, dtype=np.int32).reshape(LAYOUT.num_words, 6).T
    bytes_ = np.arange(6 * LAYOUT.num_bytes, dtype=np.uint8).reshape(6, LAYOUT.num_bytes)[::-1]
    uid = store.begin(0, words[0], bytes_[0].copy(), {})
    store.append(uid, words, bytes_)
    store.end(uid, ended="reset", success=None, attributes={}, final=None)
    store.close()
    expected = LAYOUT.unpack(words, bytes_)
    with h5py.File(tmp_path / "shards/episodes-000000.hdf5") as file:
        assert np.array_equal(file["data/demo_0/actions"], expected["actions"], equal_nan=True)
        rewards = file["data/demo_0/rewards"][:]
        assert rewards.tobytes() == expected["rewards"].tobytes()


def test_crashing_again_and_again_leaves_no_more_than_it_must(tmp_path):
    driver = driver_for(tmp_path / "demos")
    for _ in range(20):
        driver.begin(0)
        driver.append(0)
        driver.store._journal.close()  # not committed
        driver.store._lock.release()
        driver.open()
    newest = max((driver.path / "journal").iterdir())
    assert newest.stat().st_size < 3000  # its header names 20 spans that are cut
    assert driver.store.recovery.cut_bytes < 500
    driver.under_way.clear()
    record_one(driver)
    driver.close()
    check(read_all(driver.path), driver)


def test_a_successor_finds_a_store_as_full_as_it_was():
    class Recording:
        num_bytes = 100

    first = Growth(Recording, max_bytes=50)
    assert not first.is_over
    Recording.num_bytes = 150
    assert first.is_over
    Recording.num_bytes = 120  # the shard is smaller than its part of the journal was
    second = Growth(Recording, max_bytes=50)
    second.resume(first.num_bytes_before, is_over=first.is_over)
    assert second.is_over
    third = Growth(Recording, max_bytes=50)
    third.resume(first.num_bytes_before, is_over=False)
    assert not third.is_over
    Recording.num_bytes = 151
    assert third.is_over
