"""Real processes, really killed."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np

from holdstep.errors import RecordingError
from holdstep.wrappers.record.store import EpisodeStore
from tests.wrappers.record import killed_writer
from tests.wrappers.record.faulty_files import ForgetfulFiles
from tests.wrappers.record.killed_writer import LAYOUT, content, length
from tests.wrappers.record.store_model import read_all

NUM_KILLS = 50


def test_killing_it_fifty_times_loses_nothing_acknowledged(tmp_path):
    """Each writer goes on where the one before was killed."""
    seconds = random.Random(0)
    delays = [str(seconds.uniform(0, 0.05)) for _ in range(NUM_KILLS)]
    killed = subprocess.run(
        [sys.executable, killed_writer.__file__, str(tmp_path / "demos"), *delays],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == 0, killed.stderr
    acknowledged = set(map(int, killed.stdout.split()))
    store = EpisodeStore(tmp_path / "demos", layout=LAYOUT, attributes={}, files=ForgetfulFiles())
    store.close()
    found = read_all(tmp_path / "demos")
    assert len(acknowledged) > NUM_KILLS
    assert acknowledged <= found.keys()
    for uid, episode in found.items():
        words, bytes_ = content(uid, length(uid))
        assert np.array_equal(episode.arrays["actions"], words)
        assert np.array_equal(episode.arrays["obs/x"][1:], bytes_[:-1])
        assert np.array_equal(episode.arrays["final_obs/x"], bytes_[-1:])


def test_a_disk_with_no_room_for_a_shard(tmp_path):
    """The limit of the size of files stands in for the disk; HDF5 itself runs into it."""
    code = (
        "import resource, signal, sys\n"
        "from tests.wrappers.record.killed_writer import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))\n"
        "main(sys.argv[1])"
    )
    writer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "demos")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert writer.returncode == 1, writer.stderr  # and no segmentation fault of HDF5
    assert f"{RecordingError.__name__}: Could not write a shard of" in writer.stderr
    assert "safe in the journal" in writer.stderr
    acknowledged = {int(uid) for uid in writer.stdout.split()[1:]}
    assert acknowledged
    store = EpisodeStore(tmp_path / "demos", layout=LAYOUT, attributes={}, files=ForgetfulFiles())
    assert store.num_episodes == len(acknowledged)
    store.close()
    assert read_all(tmp_path / "demos").keys() == acknowledged
