"""Two ranks under torchrun's agent, one of which is killed again and again."""

import hashlib
import os
from pathlib import Path

from holdstep.cli import main
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.manifest import Manifest
from tests.launch_ranks import run_ranks

NUM_KILLS = int(os.environ.get("HOLDSTEP_RANK_KILLS", "20"))
"""More are for whoever has the time."""


def test_a_rank_that_is_killed_at_random_times_loses_nothing_that_was_acknowledged(tmp_path):
    function = "tests.wrappers.record.killed_ranks:record"
    answers = run_ranks(function, 2, tmp_path, NUM_KILLS, max_restarts=NUM_KILLS)
    assert answers == [{"num_restarts": NUM_KILLS}] * 2
    demos = tmp_path / "demos"
    for rank in range(2):
        acknowledged = (tmp_path / f"acknowledged-{rank}").read_text().split()
        with Dataset(demos / f"rank-0000{rank}") as dataset:
            actions = [episode.arrays["actions"].tobytes() for episode in dataset]
        found = [hashlib.sha1(content).hexdigest() for content in actions]
        assert len(acknowledged) > NUM_KILLS, "it was killed too soon to say anything"
        assert set(acknowledged) <= set(found)
        assert len(set(found)) == len(found), "nothing is there twice"
    assert main(["dataset", "validate", str(demos)]) == 0
    with Dataset(demos) as dataset:
        assert dataset.pending is None
        listed = list(Manifest.read(demos / "manifest.json").shards)
        assert [demos / shard.file for shard in listed] == list(dataset.files)
        assert sum(len(shard.episodes) for shard in listed) == len(dataset)
    assert all(Path(demos, shard.file).is_file() for shard in listed)
