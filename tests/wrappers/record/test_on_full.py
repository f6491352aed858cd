"""What happens when the writer is behind, and when it can't go on."""

import gc
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from holdstep.errors import RecordingError
from holdstep.wrappers import RecordEpisodes
from holdstep.wrappers.record import writer_config
from holdstep.wrappers.record.dataset import Dataset
from tests.wrappers.record.scripted_env import (
    CloningRecorder,
    Script,
    ScriptedEnv,
    read_by_id,
)

STORES = "tests.wrappers.record.slow_stores"
SCRIPT = Script(
    groups={"policy": ("float32", (5,)), "camera": ("uint8", (6, 5, 3))},
    num_envs=3,
    ends=[([], []), ([1], []), ([], [0, 2]), ([], []), ([2], []), ([], []), ([], [])],
)


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """A file; while it is there, nothing is committed."""
    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:GatedStore")
    file = tmp_path / "gate"
    yield file
    file.unlink(missing_ok=True)


def recorded(path, **options):
    cloning = CloningRecorder(ScriptedEnv(SCRIPT))
    return cloning, RecordEpisodes(
        cloning, path, max_queue_bytes=1 << 13, writer="thread", durability="os", **options
    )


def test_block_waits_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:SlowStore")
    cloning, env = recorded(tmp_path / "demos")
    env.reset()
    for _ in range(100):
        env.step(torch.randn(3, 2))
        assert env.stats().queued_bytes <= 1 << 13
    assert env.stats().blocked_s > 0.1
    env.close()
    cloning.stop()
    assert read_by_id(Dataset(env.path)) == cloning.by_id()


def test_spill_does_not_wait_and_loses_nothing(tmp_path, gate):
    cloning, env = recorded(tmp_path / "demos", on_full="spill")
    env.reset()
    gate.touch()
    for _ in range(300):
        env.step(torch.randn(3, 2))
    stats = env.stats()
    assert stats.spilled_bytes > 2 << 13
    assert stats.lag_s > 0
    assert stats.blocked_s < 0.05
    gate.unlink()
    env.flush()
    assert env.stats().queued_bytes == env.stats().spilled_bytes == 0
    assert os.fstat(env._recording._queue._spill.fd).st_size == 0
    for _ in range(50):
        env.step(torch.randn(3, 2))
    env.close()
    cloning.stop()
    assert read_by_id(Dataset(env.path)) == cloning.by_id()
    assert sorted(os.listdir(tmp_path)) == ["demos"]


@pytest.mark.parametrize("num_gaps", [1, 3])
def test_drop_loses_whole_episodes_and_counts_them(tmp_path, gate, num_gaps):
    cloning, env = recorded(tmp_path / "demos", on_full="drop")
    random = np.random.default_rng(num_gaps)
    env.reset()
    for _ in range(num_gaps):
        for _ in range(30):
            env.step(torch.randn(3, 2))
        env.flush()
        gate.touch()
        for _ in range(120):
            env.step_masked(torch.randn(3, 2), torch.from_numpy(random.random(3) < 0.7))
        assert env.stats().blocked_s < 0.05
        gate.unlink()
        while env.stats().queued_bytes > 1 << 12:
            time.sleep(0.002)
    env.reset(options={"env_ids": [1]})
    for _ in range(20):
        env.step(torch.randn(3, 2))
    env.close()
    cloning.stop()
    expected = cloning.by_id()
    found = read_by_id(Dataset(env.path))
    assert found == {key: expected[key] for key in found}
    assert env.stats().dropped == len(expected) - len(found) > 20
    assert env.stats().acknowledged == len(found) > 5


def test_a_reset_waits_even_if_steps_are_dropped(tmp_path, gate):
    cloning, env = recorded(tmp_path / "demos", on_full="drop")
    env.reset()
    gate.touch()
    for _ in range(80):
        env.step(torch.randn(3, 2))
    gate.unlink()
    env.reset()
    env.step(torch.randn(3, 2))
    env.close()
    cloning.stop()
    found, expected = read_by_id(Dataset(env.path)), cloning.by_id()
    assert found == {key: expected[key] for key in found}
    assert sum(episode["ended"] == "closed" for episode in found.values()) == 3
    assert env.stats().dropped == len(expected) - len(found) > 20


@pytest.mark.parametrize("writer", ["process", "thread"])
def test_a_full_disk_is_told_and_nothing_is_lost_once_there_is_room(tmp_path, monkeypatch, writer):
    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:FullDiskStore")
    cloning = CloningRecorder(ScriptedEnv(SCRIPT))
    env = RecordEpisodes(cloning, tmp_path / "demos", max_queue_bytes=1 << 13, writer=writer)
    env.reset()
    for _ in range(30):
        env.step(torch.randn(3, 2))
    env.flush()
    acknowledged = env.stats().acknowledged
    (tmp_path / "full").touch()

    def step_on():
        for _ in range(500):
            env.step(torch.randn(3, 2))

    for _ in range(2):  # it is told again as long as it lasts
        with pytest.raises(RecordingError, match="No space left on device"):
            step_on()
    num_steps = env.unwrapped.num_steps
    with pytest.raises(RecordingError, match="No space left on device"):
        step_on()
    assert env.unwrapped.num_steps == num_steps, "the env was stepped though it can't be recorded"
    (tmp_path / "full").unlink()
    for _ in range(30):
        env.step(torch.randn(3, 2))
    env.close()
    cloning.stop()
    assert acknowledged > 0
    assert env.stats().num_writer_restarts > 0
    assert env.stats().dropped == 0
    assert read_by_id(Dataset(env.path)) == cloning.by_id()


def test_a_disk_that_stays_full_is_told_by_close_and_the_env_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:FullDiskStore")
    _, env = recorded(tmp_path / "demos")
    env.reset()
    for _ in range(10):
        env.step(torch.randn(3, 2))
    (tmp_path / "full").touch()
    with pytest.raises(RecordingError, match="No space left on device"):
        env.close()
    env.close()
    assert env._closed


def test_an_interrupt_while_waiting_breaks_nothing(tmp_path, gate, monkeypatch):
    cloning, env = recorded(tmp_path / "demos")
    env.reset()
    gate.touch()
    link = env._recording._queue._link
    sleep = link._sleep

    def interrupt(seconds):
        link._sleep = sleep
        raise KeyboardInterrupt

    link._sleep = interrupt

    def step_on():
        for _ in range(200):
            env.step(torch.randn(3, 2))

    with pytest.raises(KeyboardInterrupt):
        step_on()
    gate.unlink()
    for _ in range(20):
        env.step(torch.randn(3, 2))
    env.close()
    cloning.stop()
    assert read_by_id(Dataset(env.path)) == cloning.by_id()


def test_a_writer_without_a_sign_of_life_is_told(tmp_path, gate):
    cloning, env = recorded(tmp_path / "demos", writer_timeout_s=0.1)
    env.reset()
    env.step(torch.randn(3, 2))
    gate.touch()
    with pytest.raises(RecordingError, match=r"no sign of life for 0\.1 s"):
        env.flush()
    gate.unlink()
    env.close()
    cloning.stop()
    assert read_by_id(Dataset(env.path)) == cloning.by_id()


FORGETFUL = """
import sys, torch
from holdstep.wrappers import RecordEpisodes
from tests.wrappers.record.scripted_env import ScriptedEnv
from tests.wrappers.record.test_on_full import SCRIPT
env = RecordEpisodes(ScriptedEnv(SCRIPT), sys.argv[1])
env.reset()
for _ in range(20):
    env.step(torch.zeros(3, 2))
if sys.argv[2] == "raise":
    raise KeyboardInterrupt
"""


@pytest.mark.parametrize("how", ["end", "raise"])
def test_a_script_that_ends_without_closing_has_recorded_all_the_same(tmp_path, how):
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, str(tmp_path / "demos"), how],
        env=os.environ | {"PYTHONPATH": os.getcwd()}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode == 0) == (how == "end"), done.stderr
    dataset = Dataset(tmp_path / "demos")
    assert sum(episode.num_steps for episode in dataset) == 60
    assert dataset.pending is None


def test_memory_stays_the_same_however_long_it_takes(tmp_path):
    script = Script(groups={"policy": ("float32", (300,))}, num_envs=16, ends=[([], [])])
    env = RecordEpisodes(ScriptedEnv(script), tmp_path / "demos", keys=["actions", "obs"],
                         max_queue_bytes=1 << 20, durability="os")  # fmt: skip
    made = env.unwrapped.observe()
    env.unwrapped.observe = lambda: {name: value.clone() for name, value in made.items()}
    env.reset()
    actions = torch.zeros(16, 2)
    sizes = []
    for step in range(3000):  # one episode: 60 MB, thirty times the queue
        env.step(actions)
        if step % 500 == 499:
            env.flush()
            gc.collect()
            sizes.append(_resident() + _resident(env._recording._queue._link._writer.pid))
    env.unwrapped.script.ends[:] = [(list(range(16)), [])]
    env.step(actions)
    env.close()
    assert env.stats().num_bytes > 50 << 20
    assert max(sizes[1:]) - sizes[0] < 8 << 20


def _resident(pid="self"):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
