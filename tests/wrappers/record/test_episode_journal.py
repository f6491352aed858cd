"""Whole episodes on their way into one HDF5 file: what was synced is not lost, whatever fails."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from holdstep.errors import DatasetError, RecordingError
from holdstep.wrappers.record.dataset import Dataset
from holdstep.wrappers.record.episode import Episode
from holdstep.wrappers.record.episode_journal import EpisodeJournal
from holdstep.wrappers.record.files import Files


def episode(number, *, length=5):
    rng = np.random.default_rng(number)
    return Episode(
        f"demo_{number}",
        length,
        {
            "actions": rng.normal(size=(length, 2)).astype(np.float32),
            "obs/policy/joints": rng.normal(size=(length, 3)),
            "obs/policy/image": rng.integers(0, 256, (length, 4, 4, 3), dtype=np.uint8),
            "initial_state/articulation/robot/root_pose": rng.normal(size=(1, 7)),
            "terminated": np.arange(length) == length - 1,
        },
        success=bool(number % 2),
        attributes={"seed": number},
    )


def assert_same(left, right):
    assert left.name == right.name
    assert left.num_steps == right.num_steps
    assert left.success == right.success
    assert dict(left.attributes) == dict(right.attributes)
    assert set(left.arrays) == set(right.arrays)
    for path, array in right.arrays.items():
        assert left.arrays[path].dtype == array.dtype
        np.testing.assert_array_equal(left.arrays[path], array)


def assert_holds(path, numbers):
    with Dataset(path) as dataset:
        found = {item.name: item for item in dataset}
        assert set(found) == {f"demo_{number}" for number in numbers}
        for number in numbers:
            assert_same(found[f"demo_{number}"], episode(number))


def left_over(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_episodes_go_into_one_file_and_the_journal_goes(tmp_path):
    path = tmp_path / "demos.hdf5"
    journal = EpisodeJournal(path)
    journal.add_env_args({"env_name": "Lift", "type": 2})
    for number in range(3):
        journal.append(episode(number))
    journal.sync()
    assert not path.exists()
    journal.finish()
    assert left_over(tmp_path) == ["demos.hdf5"]
    assert_holds(path, range(3))
    with h5py.File(path) as file:
        assert file.attrs["format_version"] == 1
        assert file["data"].attrs["total"] == 15
        assert '"env_name": "Lift"' in file["data"].attrs["env_args"]


def test_a_later_run_adds_to_the_file(tmp_path):
    path = tmp_path / "demos.hdf5"
    for numbers in ([0, 1], [2], [], [3, 4]):
        journal = EpisodeJournal(path)
        assert len(journal.names) == (numbers[0] if numbers else 3)
        for number in numbers:
            journal.append(episode(number))
        journal.finish(compression="gzip")
    assert_holds(path, range(5))


def test_what_a_crash_left_is_taken_along_by_the_next_run(tmp_path):
    path = tmp_path / "demos.hdf5"
    for number in range(3):  # three runs that were killed, one after the other
        journal = EpisodeJournal(path)
        journal.append(episode(number))
        journal.abandon()
    journal = EpisodeJournal(path)
    assert journal.names == {"demo_0", "demo_1", "demo_2"}
    journal.finish()
    assert_holds(path, range(3))


def test_at_every_byte_where_writing_can_stop_whole_episodes_survive(tmp_path):
    source = EpisodeJournal(tmp_path / "source.hdf5")
    source.append(episode(0))
    segment = tmp_path / "source.hdf5.journal" / "000000.episodes"
    end_of_first = segment.stat().st_size
    source.append(episode(1))
    source.abandon()
    content = segment.read_bytes()
    rng = np.random.default_rng(0)
    cuts = {0, 1, 39, 40, 41, end_of_first - 1, end_of_first, end_of_first + 1, len(content) - 1}
    cuts |= set(rng.integers(0, len(content), 40).tolist())
    for cut in sorted(cuts):
        path = tmp_path / f"cut{cut}.hdf5"
        folder = tmp_path / f"cut{cut}.hdf5.journal"
        folder.mkdir()
        (folder / "000000.episodes").write_bytes(content[:cut])
        journal = EpisodeJournal(path)
        journal.append(episode(7))  # behind the torn end
        journal.finish()
        assert_holds(path, [7] if cut < end_of_first else [0, 7])


def test_a_changed_byte_costs_only_what_lies_behind_it(tmp_path):
    path = tmp_path / "demos.hdf5"
    journal = EpisodeJournal(path)
    journal.append(episode(0))
    segment = tmp_path / "demos.hdf5.journal" / "000000.episodes"
    end_of_first = segment.stat().st_size
    journal.append(episode(1))
    journal.abandon()
    content = bytearray(segment.read_bytes())
    content[end_of_first + 100] ^= 1
    segment.write_bytes(content)
    EpisodeJournal(path).finish()
    assert_holds(path, [0])


class FailingFiles(Files):
    """Fails at one of its operations, as a killed process does from there on."""

    def __init__(self, fails_at, *, torn=False):
        self.fails_at = fails_at
        self.torn = torn
        self.num_operations = 0
        self.dead = False

    def _operation(self):
        if self.dead:
            raise OSError(errno.EIO, "killed")
        if self.num_operations == self.fails_at:
            self.dead = True
            raise OSError(errno.ENOSPC, "No space left on device")
        self.num_operations += 1

    def write(self, descriptor, buffers):
        if self.torn and self.num_operations == self.fails_at:
            whole = b"".join(bytes(memoryview(buffer).cast("B")) for buffer in buffers)
            os.write(descriptor, whole[: len(whole) // 2])
        self._operation()
        super().write(descriptor, buffers)

    def close(self, descriptor):
        os.close(descriptor)


def _counted(name):
    def operation(self, *arguments):
        self._operation()
        return getattr(Files, name)(self, *arguments)

    return operation


for _name in ("make_folder", "create", "sync", "sync_file", "sync_folder", "rename", "unlink",
              "remove_folder"):  # fmt: skip
    setattr(FailingFiles, _name, _counted(_name))


def record_until_it_fails(path, files, numbers):
    """Returns the episodes that were acknowledged."""
    acknowledged = []
    try:
        journal = EpisodeJournal(path, files=files)
    except RecordingError:
        return acknowledged
    try:
        for number in numbers:
            journal.append(episode(number))
            journal.sync()
            acknowledged.append(number)
        journal.finish()
    except RecordingError:
        journal.abandon()
    return acknowledged


@pytest.mark.parametrize("torn", [False, True])
def test_at_every_operation_that_can_fail_what_was_acknowledged_is_kept(tmp_path, torn):
    """A first run ends well, a second one dies, a third one finishes."""
    for fails_at in range(100):
        path = tmp_path / f"at{fails_at}{torn}.hdf5"
        record_until_it_fails(path, Files(), [0, 1])
        files = FailingFiles(fails_at, torn=torn)
        acknowledged = record_until_it_fails(path, files, [2, 3])
        assert_holds_at_least(path, [0, 1])  # readable at any time
        journal = EpisodeJournal(path)
        names = set(journal.names)
        assert names >= {f"demo_{number}" for number in (0, 1, *acknowledged)}
        journal.append(episode(9))
        journal.finish()
        numbers = [int(name.removeprefix("demo_")) for name in names]
        assert_holds(path, [*numbers, 9])
        if not files.dead:
            break
    assert fails_at >= 15, "every operation was made to fail"
    assert not files.dead


def assert_holds_at_least(path, numbers):
    with Dataset(path) as dataset:
        found = {item.name: item for item in dataset}
        for number in numbers:
            assert_same(found[f"demo_{number}"], episode(number))


def test_after_a_failed_write_the_journal_goes_on_in_another_file(tmp_path):
    path = tmp_path / "demos.hdf5"
    files = FailingFiles(10**9, torn=True)
    journal = EpisodeJournal(path, files=files)
    journal.append(episode(0))
    files.fails_at = files.num_operations
    with pytest.raises(RecordingError, match="The disk is full"):
        journal.append(episode(1))
    files.dead = False
    files.fails_at = 10**9
    journal.append(episode(2))
    journal.finish()
    assert_holds(path, [0, 2])


def test_killed_processes_lose_nothing_that_they_acknowledged(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from holdstep.wrappers.record.episode_journal import EpisodeJournal
        from tests.wrappers.record.test_episode_journal import episode
        journal = EpisodeJournal(Path(sys.argv[1]))
        for number in range(int(sys.argv[2]), 10**9):
            journal.append(episode(number))
            journal.sync()
            print(number, flush=True)
        """
    )
    path = tmp_path / "demos.hdf5"
    last = -1
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(last + 2)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        for line in process.stdout:
            last = int(line)
            if last % 7 == 6:
                process.send_signal(signal.SIGKILL)
                break
        rest = process.stdout.read().split()
        last = int(rest[-1]) if rest else last
        process.wait()
        process.stdout.close()
        names = EpisodeJournal(path).names
        assert f"demo_{last}" in names
    journal = EpisodeJournal(path)
    numbers = [int(name.removeprefix("demo_")) for name in journal.names]
    assert len(numbers) >= 15
    journal.finish()
    assert_holds(path, numbers)


def test_a_run_that_died_between_its_last_operations_leaves_no_doubles(tmp_path):
    path = tmp_path / "demos.hdf5"
    journal = EpisodeJournal(path)
    journal.append(episode(0))
    kept = (tmp_path / "demos.hdf5.journal" / "000000.episodes").read_bytes()
    journal.finish()
    (tmp_path / "demos.hdf5.journal").mkdir()
    (tmp_path / "demos.hdf5.journal" / "000000.episodes").write_bytes(kept)
    EpisodeJournal(path).finish()
    assert_holds(path, [0])


def test_another_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "demos.hdf5"
    path.write_bytes(b"something else")
    with pytest.raises(DatasetError):
        EpisodeJournal(path)
    assert path.read_bytes() == b"something else"


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)
paths = st.lists(names.filter(lambda n: n not in (".", "..")), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    arrays=st.dictionaries(
        paths.map("/".join),
        npst.arrays(
            st.sampled_from(["f4", "f8", "f2", "u1", "i1", "i4", "i8", "u2", "?"]),
            npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
        ),
        max_size=4,
    ),
    num_steps=st.integers(0, 10),
    success=st.none() | st.booleans(),
)
def test_what_is_read_back_is_what_was_given(tmp_path_factory, arrays, num_steps, success):
    folders = {path.rsplit("/", depth)[0] for path in arrays for depth in range(1, 3)}
    folders = {f for f in folders if any(path.startswith(f"{f}/") for path in arrays)}
    arrays = {path: array for path, array in arrays.items() if path not in folders}
    path = tmp_path_factory.mktemp("any") / "demos.hdf5"
    given_episode = Episode("demo_0", num_steps, arrays, success=success)
    journal = EpisodeJournal(path)
    journal.append(given_episode)
    journal.abandon()
    EpisodeJournal(path).finish()
    with Dataset(path) as dataset:
        assert_same(dataset[0], given_episode)
