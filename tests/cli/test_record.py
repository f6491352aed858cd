"""``holdstep record``: goes on where it was, whatever stopped it."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from holdstep.cli import main, record_sources
from holdstep.distributed import Rank
from holdstep.envs import make
from holdstep.errors import ConfigError
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.files import Files
from holdstep.wrappers.record.manifest import Manifest, Shard
from holdstep.wrappers.record.ranks import merge_manifests, rank_folder, rank_share
from holdstep.wrappers.record.recorder import RecordEpisodes
from holdstep.wrappers.record.store import EpisodeStore

POLICIES = '''
import time
import torch

def to_the_goal(env):
    return lambda obs: 2.0 * obs["policy"][:, 4:] - 1.5 * obs["policy"][:, 2:4]

def sometimes(env):
    """Goes to the goal in the rows whose goals are on the right, else away from it."""
    def act(obs):
        goal = obs["policy"][:, 4:]
        sign = torch.where(obs["policy"][:, :1] + goal[:, :1] > 0, 1.0, -1.0)
        return sign * (2.0 * goal - 1.5 * obs["policy"][:, 2:4])
    return act

def slow(env):
    def act(obs):
        time.sleep(0.005)
        return 2.0 * obs["policy"][:, 4:] - 1.5 * obs["policy"][:, 2:4]
    return act

def script(env):
    async def go(handle):
        info = {}
        while not handle.done:
            seen = handle.obs["policy"]
            _, _, _, info = await handle.step(2 * seen[4:] - 1.5 * seen[2:4])
        return bool(info["success"]) and handle.episode % 2 == 0
    return go
'''


@pytest.fixture(autouse=True)
def _in_a_folder_with_policies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_policies", raising=False)
    Path("my_policies.py").write_text(POLICIES)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    # To start a writer takes longer than all else; the runs that are killed below have real ones.
    monkeypatch.setitem(RecordEpisodes.__init__.__kwdefaults__, "writer", "thread")


def command(*options, env_id="holdstep:PointMass", num_envs=4):
    fixed = ["--num-envs", str(num_envs), "--device", "cpu"]
    return ["record", env_id, *fixed, *map(str, options)]


def record(*options, **named):
    assert main(command(*options, **named)) == 0


def actions_in(path):
    with Dataset(path) as dataset:
        return [episode.arrays["actions"] for episode in dataset]


def test_a_policy_is_recorded_and_a_second_start_adds_what_is_missing(capsys):
    record("--policy", "my_policies:to_the_goal", "--out", "demos", "--num-episodes", 5)
    assert "demos: 5 episodes" in capsys.readouterr().out
    first = actions_in("demos")
    record("--policy", "my_policies:to_the_goal", "--out", "demos", "--num-episodes", 5)
    assert len(actions_in("demos")) == 5
    record("--policy", "my_policies:to_the_goal", "--out", "demos", "--num-episodes", 12)
    everything = actions_in("demos")
    assert len(everything) == 12
    for kept, was in zip(everything, first, strict=False):
        np.testing.assert_array_equal(kept, was)
    # Later starts have seeds of their own: no episode was made twice.
    assert len({actions.tobytes() for actions in everything}) == 12
    with Dataset("demos") as dataset:
        assert all(entry.success for entry in dataset.entries())
        assert "initial_state/row/state" in dataset.shapes()
        assert dataset.env_args["env_name"] == "holdstep:PointMass"


def test_into_one_file():
    for num_episodes in (3, 5):
        record("--policy", "zero", "--out", "demos.hdf5", "--num-episodes", num_episodes)
    assert len(actions_in("demos.hdf5")) == 5
    assert sorted(path.name for path in Path().glob("demos*")) == ["demos.hdf5"]
    assert not any(actions.any() for actions in actions_in("demos.hdf5"))


def test_only_successes_are_kept_until_there_are_enough():
    options = ["--policy", "my_policies:sometimes", "--only-successes", "--out", "demos"]
    for num_episodes in (3, 9):
        record(*options, "--num-episodes", num_episodes)
        with Dataset("demos") as dataset:
            assert len(dataset) == num_episodes
            assert all(entry.success for entry in dataset.entries())


def test_attempts_are_bounded(capsys):
    options = ["--policy", "zero", "--only-successes", "--max-attempts", 6]
    record(*options, "--num-episodes", 3, "--out", "demos")
    assert "demos: 0 episodes" in capsys.readouterr().out


def test_short_episodes_are_not_favoured():
    """Those that start first are recorded, with as many of each row as it can run."""
    record("--policy", "random", "--out", "demos", "--num-episodes", 8, env_id="holdstep:CartPole")
    with Dataset("demos") as dataset:
        by_row = [entry.attributes["env_id"] for entry in dataset.entries()]
        ended = {entry.ended for entry in dataset.entries()}
    assert len(by_row) == 8
    assert set(by_row) == {0, 1, 2, 3}
    assert ended <= {"terminated", "truncated"}, "no episode was cut"


def test_a_script_is_recorded_where_it_succeeds():
    options = ["--policy", "my_policies:script", "--out", "demos", "--num-episodes", 5]
    assert main(command(*options)) == 2  # it says so itself, so it has to be asked for
    record(*options, "--only-successes")
    with Dataset("demos") as dataset:
        assert len(dataset) == 5
        assert all(entry.success for entry in dataset.entries())


def test_a_dataset_is_replayed_once_and_then_gone_on_with():
    record("--policy", "my_policies:sometimes", "--out", "demos", "--num-episodes", 6)
    record("--replay", "demos", "--out", "again", "--num-episodes", 4, num_envs=3)
    assert len(actions_in("again")) == 4
    record("--replay", "demos", "--out", "again", num_envs=3)
    with Dataset("demos") as demos, Dataset("again") as again:
        originals = {episode.name: episode for episode in demos}
        replayed = {episode.attributes["replay_of"]: episode for episode in again}
        files = {episode.attributes["replay_of_file"] for episode in again}
        assert files == {"demos/shards/episodes-000000.hdf5"}
        assert set(replayed) == set(originals)
        assert len(again) == 6
        for name, episode in replayed.items():
            original = originals[name]
            assert episode.num_steps == original.num_steps
            assert episode.success == original.success
            assert episode.ended == original.ended
            for path in ("actions", "obs/policy", "rewards", "initial_state/row/state"):
                np.testing.assert_array_equal(episode.arrays[path], original.arrays[path])


def test_ranks_share_what_is_replayed_whose_episodes_have_the_same_names(monkeypatch):
    for rank in range(2):  # whose episodes are named alike
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        record("--policy", "my_policies:to_the_goal", "--out", "demos", "--num-episodes", 6)
    for start in range(2):
        for rank in (1, 0):
            monkeypatch.setenv("RANK", str(rank))
            with monkeypatch.context() as patch:
                if start == 0:  # they run at once, so neither sees what the other has done
                    patch.setattr(record_sources, "_replayed", lambda path: set())
                record("--replay", "demos", "--out", "again", *(["--num-episodes", 4], [])[start])
    assert len(actions_in("again/rank-00001")) == 3
    everything = {actions.tobytes() for actions in actions_in("again")}
    assert everything == {actions.tobytes() for actions in actions_in("demos")}
    assert len(everything) == 6


@pytest.mark.parametrize("out", ["again", "again.hdf5"])
def test_a_replay_that_was_killed_goes_on_with_the_rest(out, monkeypatch):
    """What it has acknowledged is in the journal only."""
    record("--policy", "my_policies:to_the_goal", "--out", "demos", "--num-episodes", 6)
    with monkeypatch.context() as patch:
        patch.setattr(EpisodeStore, "close", lambda store, **_: store.abandon())
        patch.setattr(EpisodeStore, "compact", lambda store, **_: False)
        record("--replay", "demos", "--out", out, "--num-episodes", 4)
    record("--replay", "demos", "--out", out)
    replayed = [actions.tobytes() for actions in actions_in(out)]
    assert sorted(replayed) == sorted(actions.tobytes() for actions in actions_in("demos"))


def test_more_processes_replay_what_is_theirs_whoever_has_replayed_the_rest(monkeypatch):
    record("--policy", "my_policies:to_the_goal", "--out", "demos", "--num-episodes", 8)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    record("--replay", "demos", "--out", "again", "--max-attempts", 2)  # of 0, 2, 4 and 6
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        record("--replay", "demos", "--out", "again")
    replayed = [actions.tobytes() for actions in actions_in("again")]
    assert sorted(replayed) == sorted(actions.tobytes() for actions in actions_in("demos"))


def test_replays_go_on_until_there_are_enough_successes():
    record("--policy", "my_policies:sometimes", "--out", "demos", "--num-episodes", 10)
    with Dataset("demos") as dataset:
        successes = [entry.success for entry in dataset.entries()]
    assert False in successes[: sum(successes)], "the first ones don't do"
    options = ["--replay", "demos", "--out", "again", "--only-successes"]
    record(*options, "--num-episodes", sum(successes), num_envs=2)
    with Dataset("again") as dataset:
        assert [entry.success for entry in dataset.entries()] == [True] * sum(successes)
    record(*options, num_envs=2)  # all others fail: it ends
    assert len(actions_in("again")) == sum(successes)


@pytest.mark.parametrize("out", ["demos", "demos/again", "link"])
def test_a_dataset_is_not_replayed_into_itself(out, capsys):
    record("--policy", "zero", "--out", "demos", "--num-episodes", 2)
    Path("link").symlink_to("demos")
    assert main(command("--replay", "demos", "--out", out, "--num-episodes", 3)) == 2
    assert "is the dataset to replay" in capsys.readouterr().err
    assert len(actions_in("demos")) == 2


def test_a_start_that_kept_nothing_is_not_made_again(monkeypatch):
    starts = []
    reset = RecordEpisodes.reset

    def noted(self, **options):
        obs, info = reset(self, **options)
        starts[-1].append(obs["policy"].numpy().tobytes())
        return obs, info

    monkeypatch.setattr(RecordEpisodes, "reset", noted)
    options = ["--policy", "zero", "--only-successes", "--max-attempts", 4, "--num-episodes", 2]
    for _ in range(2):
        starts.append([])
        record(*options, "--out", "demos")
    assert actions_in("demos") == []
    first, second = starts
    assert first[-1] != second[-1]


def test_a_list_that_can_not_be_written_costs_a_rank_nothing(monkeypatch):
    def fails(self, path, content):
        if path == Path("demos/manifest.json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(self, path, content)

    replace = Files.replace
    monkeypatch.setattr(Files, "replace", fails)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.warns(RuntimeWarning, match="are safe, but demos/manifest.json does not list them"):
        record("--policy", "zero", "--out", "demos", "--num-episodes", 4)
    assert len(actions_in("demos")) == 2


def test_ranks_that_end_together_merge_one_after_the_other(tmp_path):
    """And the last one's list is the one that stays."""
    drafts, most, ready = 0, 0, threading.Barrier(4)

    class Slow(Files):
        def create(self, path):
            nonlocal drafts, most
            drafts += 1
            most = max(most, drafts)
            time.sleep(0.01)
            return super().create(path)

        def rename(self, source, target):
            nonlocal drafts
            super().rename(source, target)
            drafts -= 1

    def end(rank):
        ready.wait(10)
        folder = rank_folder(Rank(rank, 4), tmp_path)
        shard = Shard("shards/episodes-000000.hdf5", "episodes", 1, 0, ())
        folder.mkdir()
        Manifest((shard,)).write(folder / "manifest.json", Files())
        merge_manifests(tmp_path, files=Slow())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(end, range(4)))
    assert most == 1
    assert len(Manifest.read(tmp_path / "manifest.json").shards) == 4


def start(*options, **variables):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])} | variables
    return subprocess.Popen(
        [sys.executable, "-m", "holdstep", *command(*options)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_episodes(path, process, num_episodes=1):
    """Until so many episodes are in the journal of a recording that goes on."""
    journal = Path(path, "journal")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if journal.is_dir() and sum(f.stat().st_size for f in journal.iterdir()) > 30_000:
            return
        time.sleep(0.02)
    raise AssertionError("nothing was recorded in time")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_stopped_goes_on_when_it_is_started_again(sign):
    short = ["--set", "env.max_episode_length=40"]
    options = ["--policy", "my_policies:slow", "--out", "demos", "--num-episodes", 60, *short]
    process = start(*options)
    wait_for_episodes("demos", process)
    process.send_signal(sign)
    out, err = process.communicate(timeout=60)
    if sign == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130, (out, err)
        assert "Traceback" not in err
        interrupted = actions_in("demos")  # readable at once: it was closed in order
        assert interrupted
    record("--policy", "my_policies:to_the_goal", *options[2:])
    everything = actions_in("demos")
    assert len(everything) == 60
    assert len({actions.tobytes() for actions in everything}) == 60


def test_each_rank_records_its_share_and_one_that_died_goes_on(monkeypatch):
    short = ["--set", "env.max_episode_length=40"]
    options = ["--policy", "my_policies:slow", "--out", "demos", "--num-episodes", 41, *short]
    ranks = [start(*options, RANK=str(rank), WORLD_SIZE="2") for rank in range(2)]
    wait_for_episodes("demos/rank-00001", ranks[1])
    ranks[1].kill()
    ranks[1].communicate()
    out, err = ranks[0].communicate(timeout=120)
    assert ranks[0].returncode == 0, (out, err)
    assert len(actions_in("demos/rank-00000")) == 21
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    record("--policy", "my_policies:to_the_goal", *options[2:])
    everything = actions_in("demos")
    assert len(everything) == 41
    assert len({actions.tobytes() for actions in everything}) == 41
    merged = Manifest.read(Path("demos/manifest.json"))
    assert sum(1 for _ in merged.episodes()) == 41
    assert all(Path("demos", shard.file).is_file() for shard in merged.shards)


def test_ranks_share_what_is_wanted_and_have_folders_of_their_own(tmp_path):
    ranks = [Rank(number, 3) for number in range(3)]
    assert [rank_share(rank, tmp_path, 8) for rank in ranks] == [3, 3, 2]
    assert rank_folder(ranks[2], tmp_path / "demos") == tmp_path / "demos" / "rank-00002"
    assert rank_folder(Rank(), tmp_path / "demos") == tmp_path / "demos"
    with pytest.raises(ConfigError, match="one file"):
        rank_folder(ranks[0], tmp_path / "demos.hdf5")


def test_fewer_processes_go_on_with_what_more_have_recorded(monkeypatch):
    options = ["--policy", "zero", "--out", "demos"]
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        record(*options, "--num-episodes", 7)
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    record(*options, "--num-episodes", 9)  # one process: rank 0 of one
    assert len(actions_in("demos")) == 9
    assert len(actions_in("demos/rank-00000")) == 5


def test_a_dataset_of_one_process_is_not_mixed_with_ranks(monkeypatch, capsys):
    options = ["--policy", "zero", "--out", "demos", "--num-episodes", 4]
    record(*options)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(command(*options)) == 2
    assert "recorded by a single process" in capsys.readouterr().err
    assert len(actions_in("demos")) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Give one of --policy, --checkpoint and --replay"),
        (["--policy", "zero", "--replay", "demos"], "Give one of"),
        (["--policy", "zero", "--num-episodes", "0"], "--num-episodes must be at least 1"),
        (["--policy", "my_policies:nothing"], "no 'nothing'"),
        (["--replay", "nowhere"], "nowhere"),
    ],
)
def test_what_can_not_be_meant_is_refused(options, message, capsys):
    assert main(command(*options, "--out", "demos")) == 2
    assert message in capsys.readouterr().err
    assert not Path("demos").exists()


@pytest.mark.parametrize("env_id", ["holdstep:PointMass", "gymnasium:CartPole-v1"])
def test_random_actions_are_all_over_the_action_space(env_id):
    from holdstep.cli.policies import random_policy, zero_policy

    env = make(env_id, num_envs=64, device="cpu")
    obs, _ = env.reset(seed=0)
    policy = random_policy(env, seed=1)
    drawn = torch.stack([policy(obs) for _ in range(20)])
    assert all(env.action_space.contains(actions.numpy()) for actions in drawn)
    if drawn.is_floating_point():
        assert drawn.min() < -0.95
        assert drawn.max() > 0.95
    else:
        assert set(drawn.unique().tolist()) == {0, 1}
    assert torch.equal(drawn[0], random_policy(env, seed=1)(obs))
    assert env.action_space.contains(zero_policy(env)(obs).numpy())
    env.close()
