"""Crashes at every single operation, in every way a disk can take them."""

from __future__ import annotations

import contextlib
import errno
import shutil

import pytest

from holdstep.errors import RecordingError
from holdstep.wrappers.record.formats.hdf5 import ShardWriter
from tests.wrappers.record.faulty_files import (
    CRASH_MODES,
    Crash,
    FaultyFiles,
    ForgetfulFiles,
    put,
)
from tests.wrappers.record.store_model import Driver, check, read_all, recover

SMALL = {"segment_bytes": 1500, "shard_bytes": 9_000}


def record(driver, files):
    """Two runs: several segments and shards, a slow row, cut episodes, discards, a resumption."""
    driver.open(files=files)
    driver.begin(9)
    for episode in range(3):
        for row in range(2):
            driver.begin(row)
            driver.append(row, 2 + row)
        driver.append(9)
        driver.commit(position=episode)
        for row in range(2):
            driver.append(row, 2)
            driver.end(row, success=row == 1, final=row == 1)
        if episode == 1:
            driver.discard_last(0)
        driver.commit(position=episode)
        driver.store.compact()
    driver.begin(0)
    driver.discard(0)
    driver.store.compact()
    driver.close(compact=False)

    driver.open(files=files)
    driver.begin(3)
    driver.append(3, 3)
    driver.end(3, "closed", None, final=False)
    driver.begin(4)
    driver.append(4)
    driver.commit()
    driver.close()


class CrashEverywhere:
    """Looks, before each operation, what a crash there would leave, and whether it is enough.

    Many crashes leave the same; that is recovered once, and compared with what must be there each
    time.
    """

    def __init__(self, tmp_path, name, modes, torn_sizes=()):
        self.root = tmp_path / "root"
        self.root.mkdir()
        self.left = tmp_path / "left"
        self.files = FaultyFiles(self.root, before=self.before)
        success_filter = "split" if name == "split" else "all"
        path = self.root / ("demos.hdf5" if name == "file" else "demos")
        self.driver = Driver(path, success_filter=success_filter, **SMALL)
        self.modes = modes
        self.torn_sizes = torn_sizes
        self.recovered = {}
        self.num_crashes = 0

    def before(self, operation):
        for mode in self.modes:
            self.look(operation, mode, 0)
        if self.files.torn is not None:
            for size in self.torn_sizes:
                size = size if size >= 0 else len(self.files.torn[1]) + size
                self.look(operation, "process", size)

    def look(self, operation, mode, torn_bytes):
        tree = self.files.survivors(mode, torn_bytes=torn_bytes)
        # Neither drafts nor the process that held the lock have a say.
        known = frozenset((p, c) for p, c in tree.items() if not p.endswith(("5.tmp", "lock")))
        try:
            if known not in self.recovered:
                put(tree, self.left)
                self.recovered[known] = self.recover()
                shutil.rmtree(self.left)
            check(self.recovered[known], self.driver)
        except Exception as error:
            number = len(self.files.operations)
            what = f"{mode}, {torn_bytes} bytes torn, before operation {number}: {operation}"
            raise AssertionError(what) from error
        self.num_crashes += 1

    def recover(self):
        return recover(self.left / self.driver.path.name, self.driver)


@pytest.mark.parametrize("name", ["folder", "split", "file"])
def test_a_crash_at_any_operation_loses_nothing_acknowledged(tmp_path, name):
    modes = ("process", "power") if name == "split" else CRASH_MODES
    crashes = CrashEverywhere(tmp_path, name, modes)
    record(crashes.driver, crashes.files)
    crashes.files.close_pins()
    check(read_all(crashes.driver.path), crashes.driver)
    assert len(crashes.driver.acknowledged) == 6
    assert crashes.num_crashes > 200 * len(modes)


def test_torn_writes_lose_nothing_acknowledged(tmp_path):
    crashes = CrashEverywhere(tmp_path, "folder", (), torn_sizes=(1, 41, -1))
    record(crashes.driver, crashes.files)
    assert crashes.num_crashes > 250


def test_at_the_level_os_the_death_of_the_process_loses_nothing_acknowledged(tmp_path):
    crashes = CrashEverywhere(tmp_path, "folder", ("process",))
    crashes.driver.options["durability"] = "os"
    record(crashes.driver, crashes.files)
    check(read_all(crashes.driver.path), crashes.driver)


def test_a_crash_during_recovery_loses_nothing_either(tmp_path):
    """Of a folder that has it all: a torn tail, a leftover shard, unfinished deletions."""
    root = tmp_path / "first"
    root.mkdir()
    files = FaultyFiles(root)
    driver = Driver(root / "demos", **SMALL)
    stop = next_number(tmp_path, "rename episodes.hdf5.tmp episodes-000000.hdf5") + 2
    files = FaultyFiles(root, stop_at=stop)
    with pytest.raises(Crash):
        record(driver, files)
    with contextlib.suppress(Crash):
        driver.store.close()

    crashes = CrashEverywhere(tmp_path, "folder", CRASH_MODES, torn_sizes=(30,))
    shutil.copytree(root, crashes.root, dirs_exist_ok=True)
    newest = max((crashes.root / "demos/journal").iterdir())
    with newest.open("ab") as journal:
        journal.write(b"hsj\x01 and the rest never came")
    crashes.files = FaultyFiles(crashes.root, before=crashes.before)
    crashes.driver.acknowledged = dict(driver.acknowledged)
    crashes.driver.possible, crashes.driver.gone = driver.possible, driver.gone
    store = crashes.driver.open(files=crashes.files)
    assert store.recovery.num_recovered
    assert store.recovery.cut_bytes
    crashes.driver.close()
    check(read_all(crashes.driver.path), crashes.driver)


def next_number(tmp_path, operation):
    """Number of the first operation of a name in an undisturbed run."""
    root = tmp_path / "undisturbed"
    root.mkdir()
    files = FaultyFiles(root)
    record(Driver(root / "demos", **SMALL), files)
    return files.operations.index(operation)


@pytest.mark.parametrize(
    ("error", "kinds", "advice"),
    [
        (errno.ENOSPC, ("write", "create", "copy", "reserve"), "free some space"),
        (errno.EIO, ("sync", "rename", "unlink"), "Input/output error"),
        (errno.EROFS, ("make_folder", "create"), "read-only"),
    ],
)
def test_a_failing_disk_is_told_and_loses_nothing_acknowledged(tmp_path, error, kinds, advice):
    (tmp_path / "whole").mkdir()
    whole = FaultyFiles(tmp_path / "whole")
    record(Driver(whole.root / "demos", **SMALL), whole)
    numbers = [n for n, name in enumerate(whole.operations) if name.startswith(kinds)]
    assert numbers
    for number in numbers:
        root = tmp_path / str(number)
        root.mkdir()
        files = FaultyFiles(root, fail_at=number, error=error)
        driver = Driver(root / "demos", **SMALL)
        with pytest.raises(RecordingError) as failure:
            record(driver, files)
        assert advice in str(failure.value), whole.operations[number]
        acknowledged = driver.store.acknowledged if driver.store else 0
        with contextlib.suppress(RecordingError):
            if driver.store is not None:
                driver.store.close()
                assert driver.store.acknowledged >= acknowledged
        check(recover(root / "demos", driver), driver)
        shutil.rmtree(root)


def test_after_a_failed_sync_nothing_is_acknowledged_any_more(tmp_path):
    files = FaultyFiles(tmp_path)
    driver = Driver(tmp_path / "demos")
    store = driver.open(files=files)
    driver.begin(0)
    driver.append(0)
    driver.end(0)
    files._fails, files._error = range(len(files.operations) + 1, 10**9), errno.EIO
    with pytest.raises(RecordingError, match="Input/output error"):
        driver.commit()
    files._fails = range(-1)  # the next sync would succeed, though the pages are gone
    for call in (store.commit, lambda: driver.begin(1)):
        with pytest.raises(RecordingError, match="Nothing more can be recorded"):
            call()
    assert store.acknowledged == 0
    store.close()


def test_a_compaction_that_fails_can_be_tried_again(tmp_path, monkeypatch):
    driver = Driver(tmp_path / "demos", files=ForgetfulFiles())
    store = driver.open()
    for row in (0, 1, 0, 1, 0, 1):
        driver.begin(row)
        driver.append(row)
        driver.end(row)
    driver.commit()
    with monkeypatch.context() as patched:
        calls = iter([None, OSError(errno.ENOSPC, "No space left on device")])
        write = ShardWriter.add

        def add(self, episode):
            error = next(calls)
            if error is not None:
                raise error
            write(self, episode)

        patched.setattr(ShardWriter, "add", add)
        with pytest.raises(RecordingError, match="safe in the journal"):
            store.compact()
        assert not list((tmp_path / "demos/shards").iterdir())
    driver.begin(2)
    driver.append(2)
    driver.end(2)
    driver.commit()
    assert store.compact() is False
    driver.close()
    found = read_all(driver.path)
    check(found, driver)
    assert [found[uid].name for uid in found] == [f"demo_{n}" for n in range(7)]
