"""One writer a recording; who starts again at once waits for the writer of who was killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from holdstep.errors import RecordingError
from holdstep.wrappers.record.lock import FolderLock

HOLDER = """
import os, sys, time
from holdstep.wrappers.record.lock import FolderLock

if os.fork():  # the env loop, which is killed
    time.sleep(60)
lock = FolderLock(__import__("pathlib").Path(sys.argv[1]))
print(os.getpid(), flush=True)
sys.stdin.read()  # the writer, which ends when it is told to
"""


@pytest.fixture
def held(tmp_path):
    """The lock's path, its holder's number, who started that, and what ends it."""
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    yield path, pid, parent
    parent.kill()
    parent.communicate()


def test_who_is_recording_is_not_waited_for(held):
    path, pid, parent = held
    waits = []
    with pytest.raises(RecordingError, match=f"process {pid}, which process {parent.pid} started"):
        FolderLock(path, sleep=waits.append)
    assert waits == []


def test_the_writer_of_who_was_killed_is_waited_for(held):
    path, pid, parent = held
    parent.kill()
    parent.wait()
    waits = []

    def sleep(time_s):
        waits.append(time_s)
        if len(waits) == 3:
            os.kill(pid, signal.SIGKILL)
        time.sleep(time_s)

    lock = FolderLock(path, sleep=sleep)
    assert len(waits) >= 3
    assert path.read_text().split() == [str(os.getpid()), str(os.getppid())]
    lock.release()


def test_a_writer_that_never_ends_is_waited_for_only_so_long(held):
    path, pid, parent = held
    parent.kill()
    parent.wait()
    waits = []
    with pytest.raises(RecordingError, match=f"being written by process {pid}"):
        FolderLock(path, orphan_s=0.5, sleep=waits.append)
    assert sum(waits) == pytest.approx(0.5)
    os.kill(pid, signal.SIGKILL)


def test_who_did_not_say_who_started_it_is_not_waited_for(held):
    path, _, _ = held
    for content in ("", "7\n", "nobody\n"):
        path.write_text(content)
        waits = []
        with pytest.raises(RecordingError, match="is being written by"):
            FolderLock(path, sleep=waits.append)
        assert waits == []
