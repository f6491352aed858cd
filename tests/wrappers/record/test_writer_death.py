"""Whoever is killed when, nothing that was acknowledged is lost, and nothing is there twice."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers import RecordEpisodes
from holdstep.wrappers.record import writer_config
from holdstep.wrappers.record.dataset import Dataset
from holdstep.wrappers.record.repair import repair
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
    ends=[([], []), ([1], []), ([], [0, 2]), ([], []), ([2], [])],
)


def writer_pid(env):
    return env._recording._queue._link._writer.pid


def recorded(path, **options):
    cloning = CloningRecorder(ScriptedEnv(SCRIPT))
    return cloning, RecordEpisodes(cloning, path, max_queue_bytes=1 << 14, **options)


MOMENTS = ["begin 1", "begin 9", "append 2", "append 9", "end 1", "end 9", "commit 1", "commit 2"]
MOMENTS += ["committed 1", "committed 2", "compact 1", "close 1", "closed 1"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_writer_that_dies_at_any_moment_is_replaced(tmp_path, monkeypatch, moment):
    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:SuicidalStore")
    # The second one dies later; what it took over must be as good as new.
    (tmp_path / "plan").write_text(f"{moment}\nappend 12")
    cloning, env = recorded(tmp_path / "demos")
    env.reset(seed=1)
    for step in range(60):
        env.step(torch.randn(3, 2))
        if step == 20:
            env.mark([0, 1, 2])
        if step == 30:
            env.flush()
            if moment.startswith("compact"):
                time.sleep(0.1)
    env.close()
    cloning.stop()
    left = (tmp_path / "plan").read_text().splitlines()
    assert moment not in left, "it did not die"
    assert env.stats().num_writer_restarts == 2 - len(left)
    found = read_by_id(Dataset(tmp_path / "demos"))
    assert found == cloning.by_id()
    assert env.stats().acknowledged == env.stats().durable == len(found)
    assert env.stats().num_steps == sum(len(e["steps"]) for e in cloning.episodes)


def test_a_writer_that_is_killed_at_random_times_is_replaced(tmp_path):
    cloning, env = recorded(tmp_path / "demos", durability="os")
    env.reset()
    rolls = random.Random(0)
    num_killed = 0
    for _ in range(6):
        for _ in range(rolls.randrange(1, 60)):
            env.step(torch.randn(3, 2))
        if rolls.random() < 0.5:
            time.sleep(rolls.random() * 0.02)
        os.kill(writer_pid(env), signal.SIGKILL)
        num_killed += 1
        if rolls.random() < 0.3:
            env.flush()
    env.close()
    cloning.stop()
    assert env.stats().num_writer_restarts == num_killed
    assert read_by_id(Dataset(tmp_path / "demos")) == cloning.by_id()
    assert env.stats().acknowledged == len(cloning.episodes)


def test_a_writer_that_dies_again_and_again_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_config, "STORE", f"{STORES}:SuicidalStore")
    _, env = recorded(tmp_path / "demos")
    env.reset()
    (tmp_path / "plan").write_text("\n".join(["append 1"] * 9))

    def step_on():
        for _ in range(200):
            env.step(torch.zeros(3, 2))
            time.sleep(0.005)

    with pytest.raises(RecordingError, match="was killed by SIGKILL, and so did 3 more"):
        step_on()
    (tmp_path / "plan").unlink()
    with pytest.raises(RecordingError, match="and so did 3 more"):
        env.close()


def test_a_writer_that_cannot_start_is_reported_at_once(tmp_path):
    _, first = recorded(tmp_path / "demos")
    first.reset()
    _, second = recorded(tmp_path / "demos")
    with pytest.raises(RecordingError, match=str(writer_pid(first))):
        second.reset()
    second.close()
    first.close()
    with pytest.raises(ConfigError, match="holds a recording of something else"):
        recorded(tmp_path / "demos", keys=["rewards"])


def test_interrupts_are_left_to_the_env_loop(tmp_path):
    cloning, env = recorded(tmp_path / "demos")
    env.reset()
    env.step(torch.zeros(3, 2))
    env.flush()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(writer_pid(env), number)
    env.step(torch.zeros(3, 2))
    env.close()
    cloning.stop()
    assert env.stats().num_writer_restarts == 0
    assert read_by_id(Dataset(tmp_path / "demos")) == cloning.by_id()


LOOP = """
import sys, torch
from holdstep.wrappers import RecordEpisodes
from tests.wrappers.record.scripted_env import ScriptedEnv
from tests.wrappers.record.test_writer_death import SCRIPT
torch.manual_seed(0)
env = RecordEpisodes(ScriptedEnv(SCRIPT), sys.argv[1], max_queue_bytes=1 << 14, writer=sys.argv[2])
env.reset(seed=1)
print(0, flush=True)
while True:
    env.step(torch.randn(3, 2))
    print(env.stats().acknowledged, flush=True)
"""


@pytest.mark.parametrize("writer", ["process", "thread"])
def test_what_was_acknowledged_survives_the_death_of_all(tmp_path, writer):
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, str(tmp_path / "demos"), writer],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    acknowledged = 0
    with process:
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged > 30:
                break
        process.kill()
        rest = process.stdout.read().split()
    acknowledged = max([acknowledged, *map(int, rest)])
    _wait_for_the_writer(tmp_path / "demos")
    repair(tmp_path / "demos")
    found = read_by_id(Dataset(tmp_path / "demos"))
    assert len(found) >= acknowledged

    torch.manual_seed(0)
    cloning = CloningRecorder(ScriptedEnv(SCRIPT))
    cloning.reset(seed=1)
    while not set(found) <= {(e["row"], e["id"]) for e in cloning.episodes}:
        cloning.step(torch.randn(3, 2))
    expected = cloning.by_id()
    assert found == {key: expected[key] for key in found}


def test_an_episode_that_the_filter_dropped_can_be_taken_back_by_the_next_writer(tmp_path):
    _, env = recorded(tmp_path / "demos", success_filter="succeeded")
    env.reset()
    for _ in range(6):
        env.step(torch.zeros(3, 2))
    env.flush()
    os.kill(writer_pid(env), signal.SIGKILL)
    env.discard_last([0, 1, 2])
    env.mark([0])
    env.flush()
    assert env.stats().num_writer_restarts == 1
    assert env.stats().discarded == 3
    env.close()
    assert [e.attributes["env_id"] for e in Dataset(env.path)] == [0]


def test_a_run_after_a_crash_adds_to_what_is_there(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, str(tmp_path / "demos"), "thread"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    with process:
        while int(process.stdout.readline()) < 10:
            pass
        process.kill()
    cloning, env = recorded(tmp_path / "demos", writer="thread", durability="os")
    env.reset()
    before = env.stats().num_episodes
    assert env.stats().durable == 0  # whatever that one left in its journal
    for _ in range(60):
        env.step(torch.randn(3, 2))
    env.close()
    cloning.stop()
    dataset = Dataset(tmp_path / "demos")
    assert len(dataset) == before + len(cloning.episodes)
    assert env.stats().acknowledged == len(cloning.episodes)
    assert before >= 10
    latest = sorted(dataset, key=lambda episode: episode.attributes["uid"])[before:]
    assert read_by_id(latest) == cloning.by_id()


def _wait_for_the_writer(path):
    """It finishes what it was sent, and lets go of the folder."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            repair(path)
            return
        except RecordingError:
            time.sleep(0.02)
    pytest.fail("the writer has not ended with its parent")


def test_a_writer_process_imports_neither_torch_nor_a_simulator():
    code = (
        "import sys, holdstep.wrappers.record.writer_process, holdstep.wrappers.record.store;"
        "print({'torch', 'mujoco', 'warp', 'isaaclab'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout.strip() == "set()", output.stderr


def test_writers_that_are_replaced_share_one_budget_of_bytes(tmp_path):
    counts = []
    for num_kills in (0, 4):
        cloning, env = recorded(tmp_path / str(num_kills), durability="os", max_bytes=60_000)
        env.reset(seed=1)
        for step in range(600):
            env.step(torch.randn(3, 2))
            env.flush()
            if step % 10 == 9 and step < 10 * num_kills:
                os.kill(writer_pid(env), signal.SIGKILL)
            if env.finished:
                break
        assert env.finished
        env.close()
        cloning.stop()
        assert env.stats().num_writer_restarts == num_kills
        counts.append(env.stats().acknowledged)
    assert abs(counts[0] - counts[1]) <= 3 < counts[0] / 8
