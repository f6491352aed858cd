"""Damage is found, and what is intact is kept."""

from __future__ import annotations

import json
import os
import shutil

import h5py
import pytest

from holdstep.errors import RecordingError
from holdstep.wrappers.record.manifest import Manifest
from holdstep.wrappers.record.repair import repair
from holdstep.wrappers.record.scan import scan, segment_name
from tests.wrappers.record.faulty_files import ForgetfulFiles
from tests.wrappers.record.store_model import Driver, check, check_episode, read_all


@pytest.fixture
def driver(tmp_path):
    """Four episodes in two shards, five in the journal, and one that is under way."""
    driver = Driver(tmp_path / "demos", segment_bytes=900, shard_bytes=1, files=ForgetfulFiles())
    driver.open()
    for number in range(7):
        driver.begin(number % 3)
        driver.append(number % 3, 3)
        driver.end(number % 3)
        driver.commit()
        if number < 5:
            driver.store.compact()
    driver.begin(0)
    driver.append(0)
    driver.commit()
    driver.close(compact=False)
    return driver


def test_a_whole_recording(driver):
    report = repair(driver.path, files=ForgetfulFiles())
    assert (report.num_episodes, report.num_recovered, report.num_dropped) == (7, 5, 1)
    assert report.is_whole
    assert "7 episodes, 5 of them out of the journal." in str(report)
    driver.gone.add(7)
    check(read_all(driver.path), driver)
    again = repair(driver.path, files=ForgetfulFiles())
    assert (again.num_episodes, again.num_recovered, again.done) == (7, 0, ())
    check(read_all(driver.path), driver)


def test_a_changed_byte_anywhere_in_the_journal_is_noticed(driver, tmp_path):
    """Nothing is ever read as it was not written, and what is lost is told."""
    segments = sorted((driver.path / "journal").iterdir())
    victim = segments[1]
    content = victim.read_bytes()
    for position in range(0, len(content), 3):
        changed = bytearray(content)
        changed[position] ^= 0x10
        victim.write_bytes(changed)
        found = scan(driver.path / "journal")
        assert found.damage, position
    victim.write_bytes(changed)
    with pytest.raises(RecordingError, match=f"{victim.name}, bytes .* were durable once"):
        driver.open()
    shutil.copytree(driver.path, tmp_path / "copy")
    report = repair(driver.path, files=ForgetfulFiles())
    assert not report.is_whole
    assert (driver.path / "damaged" / victim.name).read_bytes() == bytes(changed)
    found = read_all(driver.path)
    lost = set(driver.acknowledged) - found.keys()
    assert len(lost) <= 2
    for uid, episode in found.items():
        check_episode(episode, driver.acknowledged[uid])


@pytest.mark.parametrize("way", ["absolute", "up", "through", "self"])
def test_a_list_that_names_other_files_moves_none_of_them(driver, tmp_path, way):
    victim = tmp_path / "victim"
    victim.write_bytes(b"somebody's")
    names = {"absolute": str(victim), "up": "../victim", "through": "shards/../../victim"}
    path = driver.path / "manifest.json"
    content = json.loads(path.read_text())
    content["shards"][0]["file"] = names.get(way, "shards/..")
    path.write_text(json.dumps(content))
    with pytest.raises(RecordingError, match="no file in its folder"):
        driver.open()
    report = repair(driver.path, files=ForgetfulFiles())
    assert victim.read_bytes() == b"somebody's"
    assert "made manifest.json anew from the shards" in report.done
    driver.gone.add(7)
    check(read_all(driver.path), driver)


def test_drafts_are_deleted(driver):
    for name in ("manifest.json.tmp", "shards/episodes.hdf5.tmp"):
        (driver.path / name).write_bytes(b"half of")
    report = repair(driver.path, files=ForgetfulFiles())
    assert "deleted the draft episodes.hdf5.tmp" in report.done
    check(read_all(driver.path), driver)


@pytest.mark.parametrize("how", ["missing", "damaged"])
@pytest.mark.parametrize("name", ["manifest.json", "dataset.json"])
def test_lists_are_made_anew(driver, name, how):
    path = driver.path / name
    if how == "missing":
        os.unlink(path)
    else:
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RecordingError, match="holdstep dataset repair"):
        driver.open()
    report = repair(driver.path, files=ForgetfulFiles())
    assert any(f"made {name} anew" in action for action in report.done)
    check(read_all(driver.path), driver)


def test_a_shard_that_was_changed_is_told_and_one_that_is_unreadable_set_aside(driver):
    shards = Manifest.read(driver.path / "manifest.json").shards
    first, second = (driver.path / shard.file for shard in shards[:2])
    with h5py.File(first) as file:
        position = file["data/demo_0/actions"].id.get_offset()
    content = bytearray(first.read_bytes())
    content[position] ^= 1
    first.write_bytes(content)
    second.write_bytes(b"something else")
    report = repair(driver.path, files=ForgetfulFiles())
    assert any("episodes-000000.hdf5 was changed" in problem for problem in report.problems)
    assert (driver.path / "damaged" / second.name).read_bytes() == b"something else"
    # Some of its episodes are in the journal still.
    found = read_all(driver.path)
    assert set(range(7)) - found.keys() <= {episode.uid for episode in shards[1].episodes}
    os.unlink(first)
    report = repair(driver.path, files=ForgetfulFiles())
    assert any("episodes-000000.hdf5 is missing" in problem for problem in report.problems)
    assert len(read_all(driver.path)) == len(found) - len(shards[0].episodes)


def test_a_journal_that_was_deleted_is_told(driver):
    shutil.rmtree(driver.path / "journal")
    with pytest.raises(RecordingError, match="is empty, and was not"):
        driver.open()
    report = repair(driver.path, files=ForgetfulFiles())
    assert not report.is_whole
    assert len(read_all(driver.path)) == 2


def test_a_single_file_without_its_lists(tmp_path):
    driver = Driver(tmp_path / "demos.hdf5", files=ForgetfulFiles())
    for run in range(2):
        driver.open()
        for _ in range(2):
            driver.begin(0)
            driver.append(0, 2)
            driver.end(0)
        driver.commit()
        driver.close(compact=not run)
    os.unlink(tmp_path / "demos.hdf5.parts/manifest.json")
    report = repair(driver.path, files=ForgetfulFiles())
    assert report.num_episodes == 4
    check(read_all(driver.path), driver)
    assert [p.name for p in tmp_path.iterdir()] == ["demos.hdf5"]


def test_there_must_be_something_to_repair(tmp_path):
    with pytest.raises(RecordingError, match="nothing to repair"):
        repair(tmp_path / "nowhere")


def test_an_episode_of_which_a_part_is_damaged_is_lost_alone(driver):
    uid, episode = max((u, e) for u, e in scan(driver.path / "journal").index.items() if e.end)
    ((_, _, (segment, offset)),) = episode.steps()
    path = driver.path / "journal" / segment_name(segment)
    content = bytearray(path.read_bytes())
    content[offset + 60] ^= 1
    path.write_bytes(content)
    report = repair(driver.path, files=ForgetfulFiles())
    assert report.lost == (uid,)
    found = read_all(driver.path)
    assert driver.acknowledged.keys() - found.keys() == {uid}
