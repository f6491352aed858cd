"""Demonstrations by scripts: as many as are wanted, and never the same twice."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

from holdstep.envs import make
from holdstep.errors import ConfigError, RecordingError
from holdstep.wrappers import SuspendOnWait
from holdstep.wrappers.record import Dataset, generate
from holdstep.wrappers.record.recorder import RecordEpisodes

NUM_ENVS = 3


def stack(num_envs=NUM_ENVS, **options):
    options = {"max_episode_length": 12} | options
    return SuspendOnWait(make("holdstep:PointMass", num_envs=num_envs, device="cpu", **options))


def towards(handle):
    seen = handle.obs["policy"]
    return 2 * seen[4:] - 1.5 * seen[2:4]


async def every_other(handle):
    """Goes on until the time is up, and succeeds in every other attempt."""
    while not handle.done:
        await handle.step(towards(handle))
    return handle.episode % 2 == 1


def contents(path):
    with Dataset(path) as dataset:
        return [
            (episode.arrays["actions"].tobytes(), episode.success, episode.num_steps)
            for episode in dataset
        ]


def test_attempts_that_fail_are_not_kept_and_made_up_for(tmp_path):
    env = stack()
    generated = generate(env, every_other, tmp_path / "demos", 7)
    assert generated.num_demonstrations == generated.num_added == 7
    assert len(generated.return_values) >= 13
    assert sum(generated.return_values) == 7
    kept = contents(tmp_path / "demos")
    assert len({actions for actions, _, _ in kept}) == 7
    assert all(success and steps == 12 for _, success, steps in kept)
    # The caller's env is open, and free.
    assert not env.suspended.any()
    env.reset()
    env.close()


def test_a_later_run_goes_on_and_makes_other_ones(tmp_path):
    for wanted, added in ((3, 3), (3, 0), (8, 5)):
        generated = generate(stack(), every_other, tmp_path / "demos", wanted, seed=4)
        assert generated.num_added == added
        assert generated.num_demonstrations == len(contents(tmp_path / "demos")) == wanted
    assert len({actions for actions, _, _ in contents(tmp_path / "demos")}) == 8


def test_attempts_that_end_before_their_time_are_kept_whole(tmp_path):
    """Given up by the script: cut by the reset for the next one, or by the end of the recording."""

    async def gives_up(handle):
        for _ in range(2 + handle.episode % 5):
            await handle.step(towards(handle))
        return True

    generated = generate(stack(), gives_up, tmp_path / "demos", 8)
    assert generated.num_demonstrations == 8
    with Dataset(tmp_path / "demos") as dataset:
        lengths = sorted(entry.num_steps for entry in dataset.entries())
        assert lengths == sorted(2 + number % 5 for number in range(8))
        assert {entry.ended for entry in dataset.entries()} <= {"reset", "closed"}


def test_a_slow_planner_stops_only_its_own_row(tmp_path):
    """And its row's waiting is recorded nowhere."""
    env = stack()
    active = []

    async def waits(handle):
        for step in range(6):
            if handle.env_id == 0 and step == 3:
                await asyncio.sleep(0.05)
            await handle.step(towards(handle))
            active.append(handle.env_id)
        return True

    generated = generate(env, waits, tmp_path / "demos", 9)
    before_the_wait_was_over = active[: len(active) - 1 - active[::-1].index(0)]
    assert before_the_wait_was_over.count(1) > 6
    assert generated.num_steps < 9 * 6
    assert {steps for _, _, steps in contents(tmp_path / "demos")} == {6}


def test_an_attempt_without_a_step_is_no_demonstration(tmp_path):
    async def sometimes_does_nothing(handle):
        if handle.episode % 3 == 0:
            return True  # of nothing
        for _ in range(3):
            await handle.step([0.0, 0.0])
        return True

    generated = generate(stack(), sometimes_does_nothing, tmp_path / "demos", 5)
    assert generated.num_demonstrations == 5
    assert [steps for _, _, steps in contents(tmp_path / "demos")] == [3] * 5


def test_what_an_attempt_returns_may_be_anything(tmp_path):
    async def tells(handle):
        while not handle.done:
            await handle.step(towards(handle))
        return {"quality": handle.episode}

    generated = generate(
        stack(),
        tells,
        tmp_path / "demos",
        2,
        succeeded=lambda told: told["quality"] >= 2,
        keys=["actions", "states"],
        attributes={"author": "a script"},
    )
    assert [told["quality"] for told in generated.return_values] == [0, 1, 2, 3]
    with Dataset(tmp_path / "demos") as dataset:
        assert "states/row/state" in dataset.shapes()
        assert "obs/policy" not in dataset.shapes()


def test_attempts_are_bounded(tmp_path):
    async def fails(handle):
        await handle.step([0.0, 0.0])
        return False

    generated = generate(stack(), fails, tmp_path / "demos", 5, max_attempts=7)
    assert len(generated.return_values) == 7
    assert generated.num_demonstrations == 0


def test_a_run_that_kept_nothing_is_not_made_again(tmp_path):
    tried = []

    async def fails(handle):
        tried.append(handle.obs["policy"].numpy().tobytes())
        await handle.step([0.0, 0.0])
        return False

    for _ in range(3):
        generate(stack(), fails, tmp_path / "demos", 5, max_attempts=4)
    assert len(tried) == len(set(tried)) == 12


def test_waiting_after_the_end_of_an_episode_is_an_error(tmp_path):
    """By then, the recorder has filed the episode, without its success."""

    async def dawdles(handle):
        while not handle.done:
            await handle.step(towards(handle))
        await asyncio.sleep(0.05 if handle.env_id == 0 else 0)
        return True

    env = stack()
    env.reset()
    with pytest.raises(RecordingError, match="went on waiting after its episode had ended"):
        generate(env, dawdles, tmp_path / "demos", 50)
    env.close()


def test_an_error_in_a_script_leaves_what_was_recorded(tmp_path):
    async def breaks(handle):
        if handle.episode == 7:
            raise ZeroDivisionError
        while not handle.done:
            await handle.step(towards(handle))
        return True

    with pytest.raises(ZeroDivisionError):
        generate(stack(), breaks, tmp_path / "demos", 20)
    assert len(contents(tmp_path / "demos")) >= 3
    assert generate(stack(), every_other, tmp_path / "demos", 9).num_demonstrations == 9


def test_what_can_not_be_meant_is_refused(tmp_path):
    env = stack()
    path = tmp_path / "demos"
    with pytest.raises(ConfigError, match="SuspendOnWait"):
        generate(env.unwrapped, every_other, path, 3)
    with pytest.raises(ConfigError, match="without RecordEpisodes"):
        generate(RecordEpisodes(env, path), every_other, path, 3)
    with pytest.raises(ConfigError, match="at least 1"):
        generate(env, every_other, path, 0)
    with pytest.raises(ConfigError, match="partial"):
        generate(env, every_other, path, 3, partial="drop")
    assert not path.exists()


def test_a_process_that_is_killed_again_and_again_gets_there(tmp_path):
    script = textwrap.dedent(
        """
        import sys, time
        from tests.wrappers.record.test_generation import every_other, stack
        from holdstep.wrappers.record import generate

        async def slow(handle):
            time.sleep(0.01)
            return await every_other(handle)

        generate(stack(), slow, sys.argv[1], 30)
        """
    )
    path = tmp_path / "demos"
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])},
        )
        journal = path / "journal"
        before = _size(journal)
        deadline = time.monotonic() + 60
        while _size(journal) < before + 8000 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    generated = generate(stack(), every_other, path, 30)
    assert 0 < generated.num_added < 30, "something was there, and something was missing"
    kept = contents(path)
    assert len(kept) == len({actions for actions, _, _ in kept}) == 30
    assert all(success for _, success, _ in kept)


def _size(folder):
    return sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else 0


def test_what_is_recorded_is_what_happened(tmp_path):
    """Bit for bit, of the attempts that are kept."""
    told = []

    async def notes(handle):
        seen = []
        while not handle.done and len(seen) < 8:
            action = towards(handle)
            seen.append((handle.obs["policy"].clone(), action.clone()))
            await handle.step(action)
        if handle.episode % 2:
            told.append(seen)
        return handle.episode % 2 == 1

    generate(stack(), notes, tmp_path / "demos", 6)
    wanted = {
        (torch.stack([o for o, _ in seen]).numpy().tobytes(),
         torch.stack([a for _, a in seen]).numpy().tobytes())
        for seen in told
    }  # fmt: skip
    with Dataset(tmp_path / "demos") as dataset:
        found = {
            (
                np.ascontiguousarray(e.arrays["obs/policy"]).tobytes(),
                np.ascontiguousarray(e.arrays["actions"]).tobytes(),
            )
            for e in dataset
        }
    assert found == wanted
