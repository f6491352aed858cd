"""Demonstrations on real physics, made by slow planners: killed, started again, and replayed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from holdstep.envs import list_envs
from holdstep.wrappers.record import Dataset
from tests.examples.load import EXAMPLES, load_example


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))  # as when it is run as a script
        return load_example("record_demonstrations")


def run_in_a_process(out, num_demonstrations):
    return subprocess.Popen(
        [
            sys.executable,
            str(EXAMPLES / "record_demonstrations.py"),
            *("--num-demonstrations", str(num_demonstrations), "--num-envs", "2"),
            *("--out", str(out), "--think-s", "0.01"),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def size(folder):
    return sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else 0


def test_demonstrations_are_made_although_the_process_is_killed(example, tmp_path):
    out = tmp_path / "demos"
    process = run_in_a_process(out, 3)
    list_envs("mjlab")  # meanwhile: what the second run imports, too
    deadline = time.monotonic() + 120
    # About when the first attempts are over: a step takes some 500 bytes.
    while size(out / "journal") < 130_000 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    arguments = example.Arguments(num_demonstrations=3, num_envs=2, out=out, think_s=0.01)
    generated = example.main(arguments)
    assert generated.num_demonstrations == 3
    assert 0 < generated.num_added <= 3
    attempts = generated.return_values
    assert sum(attempt.lifted for attempt in attempts) == generated.num_added
    assert all(attempt.missed_by < 0.02 for attempt in attempts if attempt.lifted)
    with Dataset(out) as dataset:
        episodes = list(dataset)
        assert len(episodes) == 3
        cubes = [episode.arrays["states/rigid_object/cube/root_pose"] for episode in episodes]
        starts = {cube[0, :3].tobytes() for cube in cubes}
        assert len(starts) == 3, "no demonstration was made twice"
        for episode, cube in zip(episodes, cubes, strict=True):
            assert episode.success
            assert episode.num_steps == 130, "planning took no simulated time"
            assert cube[-1, 2] > 0.1, "the cube hangs in the air"
            processed = episode.arrays["processed_actions"]
            assert processed.shape == episode.arrays["actions"].shape
            assert not np.array_equal(processed, episode.arrays["actions"])
