"""A writer that fails or hangs while it opens or closes costs no more than it must."""

import errno
import os
import signal
import time

import pytest
import torch

from holdstep.errors import RecordingError
from holdstep.wrappers import RecordEpisodes
from holdstep.wrappers.record import gpu_staging, recording, writer_config
from holdstep.wrappers.record.dataset import Dataset
from holdstep.wrappers.record.ring import BlockRing, BlockShape
from holdstep.wrappers.record.spill import SpillFile
from tests.wrappers.record.scripted_env import CloningRecorder, Script, ScriptedEnv, read_by_id

STORES = "tests.wrappers.record.slow_stores"
SCRIPT = Script(groups={"policy": ("float32", (5,))}, num_envs=2, ends=[([], []), ([1], [])])


def recorded(path, **options):
    cloning = CloningRecorder(ScriptedEnv(SCRIPT))
    options = {"writer": "thread", "durability": "os"} | options
    return cloning, RecordEpisodes(cloning, path, max_queue_bytes=1 << 13, **options)


def step_on(env, num_steps):
    for _ in range(num_steps):
        env.step(torch.randn(2, 2))


def opened_at_last(path):
    """Another recording of a folder that somebody is just letting go of."""
    until = time.monotonic() + 10
    while True:
        _, env = recorded(path)
        try:
            env.reset()
        except RecordingError as error:
            if time.monotonic() > until:
                raise AssertionError("the folder is locked still") from error
            time.sleep(0.01)
        else:
            return env


@pytest.mark.parametrize("writer", ["thread", "process"])
def test_a_failure_that_passes_while_the_env_is_closed_loses_nothing(tmp_path, monkeypatch, writer):
    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:BrieflyFullDiskStore")
    cloning, env = recorded(tmp_path / "demos", writer=writer)
    env.reset()
    step_on(env, 20)
    (tmp_path / "full").touch()
    env.close()
    cloning.stop()
    assert not (tmp_path / "full").exists(), "it did not fail"
    assert env.stats().num_writer_restarts == 1
    assert read_by_id(Dataset(env.path)) == cloning.by_id()


def test_what_is_lost_is_told_when_nobody_can_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:FullDiskStore")
    _, env = recorded(tmp_path / "demos")
    env.reset()
    step_on(env, 4)
    (tmp_path / "full").touch()
    with pytest.raises(RecordingError, match=r"No space left.*are safe; the others are lost"):
        env.close()


def test_closing_does_not_wait_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:GatedStore")
    _, env = recorded(tmp_path / "demos", writer_timeout_s=0.1)
    env.reset()
    step_on(env, 4)
    (tmp_path / "gate").touch()
    with pytest.raises(RecordingError, match=r"no sign of life for 0\.1 s.*the others are lost"):
        env.close()
    (tmp_path / "gate").unlink()
    opened_at_last(tmp_path / "demos").close()


def test_a_writer_whose_end_the_system_does_not_tell_is_replaced(tmp_path, monkeypatch):
    """Where nobody waits for children, a writer that was killed seems to have ended well."""
    cloning, env = recorded(tmp_path / "demos", writer="process")
    env.reset()
    step_on(env, 20)
    link = env._recording._queue._link
    send = link.send

    def killing(message):
        if message.do == "close":
            os.kill(link._writer.pid, signal.SIGKILL)
        send(message)

    monkeypatch.setattr(link, "send", killing)
    handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        env.close()
    finally:
        signal.signal(signal.SIGCHLD, handler)
    cloning.stop()
    assert read_by_id(Dataset(env.path)) == cloning.by_id()
    assert env.stats().num_episodes == len(cloning.episodes)


def test_a_writer_that_opens_slowly_is_waited_for_and_one_that_hangs_is_let_go(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:SlowlyOpenedStore")
    _, env = recorded(tmp_path / "demos", writer_timeout_s=0.15)
    env.reset()  # takes 0.3 s
    env.close()
    (tmp_path / "gate").touch()
    _, env = recorded(tmp_path / "demos", writer_timeout_s=0.15)
    with pytest.raises(RecordingError, match="no sign of life"):
        env.reset()
    (tmp_path / "gate").unlink()
    monkeypatch.undo()
    opened_at_last(tmp_path / "demos").close()


def test_an_interrupt_while_it_opens_leaves_no_writer_behind(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    _, env = recorded(tmp_path / "demos")
    with monkeypatch.context() as patch:
        patch.setattr("holdstep.wrappers.record.writer_link.WriterLink.wait_until", interrupt)
        with pytest.raises(KeyboardInterrupt):
            env.reset()
    opened_at_last(tmp_path / "demos").close()


def test_a_device_without_room_leaves_no_writer_behind(tmp_path, monkeypatch):
    def without_room(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    _, env = recorded(tmp_path / "demos")
    with monkeypatch.context() as patch:
        patch.setattr(recording, "staging_for", without_room)
        with pytest.raises(torch.OutOfMemoryError):
            env.reset()
    _, env = recorded(tmp_path / "demos")
    env.reset()
    env.close()


def test_a_device_without_room_leaves_no_memory_locked(monkeypatch):
    class Pinned:
        is_locked = True

        def __init__(self, ring):
            pass

        def release(self):
            Pinned.is_locked = False

    def without_room(value, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu_staging, "_Pinned", Pinned)
    monkeypatch.setattr(torch, "empty_like", without_room)
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    with pytest.raises(torch.OutOfMemoryError):
        gpu_staging.GpuStaging(BlockRing(BlockShape(4, 2, 3, 1, 2, 0), 2), torch.device("cuda"))
    assert not Pinned.is_locked


def test_steps_that_find_no_room_to_spill_wait(tmp_path, monkeypatch):
    def no_room(*arguments):
        (tmp_path / "gate").unlink(missing_ok=True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:GatedStore")
    monkeypatch.setattr(SpillFile, "write", no_room)
    cloning, env = recorded(tmp_path / "demos", on_full="spill")
    env.reset()
    (tmp_path / "gate").touch()
    step_on(env, 300)
    assert not (tmp_path / "gate").exists(), "nothing was spilled"
    env.close()
    cloning.stop()
    assert env.stats().blocked_s > 0
    assert read_by_id(Dataset(env.path)) == cloning.by_id()


def test_a_spill_file_lies_in_the_folder_of_the_recording(tmp_path):
    _, env = recorded(tmp_path / "demos.hdf5", on_full="spill")
    env.reset()
    folder = os.path.dirname(os.readlink(f"/proc/self/fd/{env._recording._queue._spill.fd}"))
    assert folder == str(tmp_path / "demos.hdf5.parts")
    env.close()
    assert os.listdir(tmp_path) == ["demos.hdf5"]


def test_a_recording_that_cannot_begin_says_so_plainly(tmp_path):
    _, first = recorded(tmp_path / "demos", writer="process")
    first.reset()
    _, second = recorded(tmp_path / "demos", writer="process")
    with pytest.raises(RecordingError, match=f"which process {os.getpid()} started") as raised:
        second.reset()
    assert "nothing else is lost" not in str(raised.value)
    first.close()
    second.close()
