"""Training by several processes, and what a restart by torchrun goes on with."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from holdstep.cli import main
from holdstep.errors import ConfigError
from tests.launch_ranks import run_ranks

pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
from holdstep.policies.rsl_rl import train
from holdstep.policies.rsl_rl.checkpoint import load_checkpoint
from tests.policies.rsl_rl.training_ranks import settings


def indices(run_dir):
    return [line["index"] for line in run_dir.read_metrics()]


def test_two_ranks_train_one_policy_and_go_on_when_one_has_died(tmp_path):
    """Different rows on each rank, one set of weights, one folder that the first one writes."""
    function = "tests.policies.rsl_rl.training_ranks:train_and_die_once"
    first, second = run_ranks(function, 2, tmp_path, max_restarts=1)
    assert first.pop("obs") != second.pop("obs")
    assert first == second
    assert first["num_restarts"] == 1
    assert first["iterations"][0] in (1, 3), "from a checkpoint: after iteration 0 or 2"
    assert first["num_steps"] == 2 * 4 * 8
    (run,) = (tmp_path / "cartpole").iterdir()
    assert first["run_dir"] == str(run)
    assert first["checkpoint"] == str(run / "model_5.pt")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(6))
    assert load_checkpoint(run / "model_5.pt")["iter"] == 5


class StoppedError(Exception):
    pass


def stop_at(index):
    def stop(iteration):
        if iteration.index == index:
            raise StoppedError

    return stop


@pytest.fixture
def restarted(monkeypatch):
    """Say that torchrun has started this process so many times before, in this job."""

    def say(num_restarts, job="a job"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(num_restarts))
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", job)

    say(0)
    return say


def stopped_run(folder, index, **changes):
    """The folder of a run that stopped in an iteration."""
    with pytest.raises(StoppedError):
        train(settings(folder, **changes), on_iteration=stop_at(index))
    return max(folder.glob("*/*/"))


def cut(file):
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("job", ["a job", "none"])  # torchrun says "none" where no id was given
def test_a_restart_goes_on_from_the_last_checkpoint_that_is_whole(tmp_path, restarted, job):
    restarted(0, job)
    run = stopped_run(tmp_path, 4)
    assert {path.name for path in run.glob("*.pt")} == {"model_0.pt", "model_2.pt"}
    cut(run / "model_2.pt")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"index": 5, "mean')  # killed while it wrote
    restarted(1, job)
    result = train(settings(tmp_path))
    assert result.run_dir.path == run
    assert [iteration.index for iteration in result.iterations] == [1, 2, 3, 4, 5]
    assert indices(result.run_dir) == list(range(6))
    assert result.checkpoint == run / "model_5.pt"
    restarted(2, job)
    again = train(settings(tmp_path))  # the job has done this already
    assert again.iterations == ()
    assert (again.run_dir, again.checkpoint) == (result.run_dir, result.checkpoint)


def test_a_restart_of_a_resumed_run_ends_where_it_was_to_end(tmp_path, restarted):
    restarted(0, "an earlier job")
    first = train(settings(tmp_path))
    restarted(0)
    experiment = first.run_dir.path.parent
    run = stopped_run(tmp_path, 9, resume=experiment)
    assert run != first.run_dir.path
    # The experiment's newest run is now the job's own one, and the disk has damaged its last file.
    cut(run / "model_8.pt")
    restarted(1)
    result = train(settings(tmp_path, resume=experiment))
    assert result.run_dir.path == run
    assert result.checkpoint.name == "model_11.pt"
    assert indices(result.run_dir) == list(range(6, 12))


def test_a_restart_before_the_first_checkpoint_begins_again(tmp_path, restarted):
    run = stopped_run(tmp_path, 0)
    assert list(run.glob("*.pt")) == []
    restarted(1)
    result = train(settings(tmp_path))
    assert result.run_dir.path == run
    assert indices(result.run_dir) == list(range(6))


@pytest.mark.parametrize("what", ["job", "seed", "no torchrun"])
def test_other_runs_are_left_alone(tmp_path, restarted, monkeypatch, what):
    run = stopped_run(tmp_path, 3)
    before = (run / "metrics.jsonl").read_text()
    restarted(1, "another job" if what == "job" else "a job")
    if what == "no torchrun":
        monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    result = train(settings(tmp_path, seed=7 if what == "seed" else 42))
    assert result.run_dir.path != run
    assert indices(result.run_dir) == list(range(6))
    assert (run / "metrics.jsonl").read_text() == before


def test_without_an_id_of_the_job_a_first_start_begins_anew(tmp_path, restarted):
    restarted(0, "none")
    run = stopped_run(tmp_path, 3)
    assert stopped_run(tmp_path, 3) != run


def test_where_another_machine_failed_this_one_goes_on_too(tmp_path, restarted, noted_seeds):
    """Its agent has not seen a failure, and counts none."""
    run = stopped_run(tmp_path, 4)
    # Begun by a restart that found no checkpoint on a slow disk, say.
    shutil.copytree(run / "params", run.with_name("9999-later") / "params")
    restarted(0)
    result = train(settings(tmp_path))
    assert result.run_dir.path == run, "the one that got furthest"
    assert [iteration.index for iteration in result.iterations] == [3, 4, 5]
    assert indices(result.run_dir) == list(range(6))
    first, second = noted_seeds
    assert first != second


@pytest.fixture
def noted_seeds(monkeypatch):
    """Those of the envs that training makes."""
    from holdstep.policies.rsl_rl import training

    seeds = []
    make = training.make

    def noted(*args, seed, **options):
        seeds.append(seed)
        return make(*args, seed=seed, **options)

    monkeypatch.setattr(training, "make", noted)
    return seeds


def test_a_restart_does_not_begin_with_the_same_episodes(tmp_path, restarted, noted_seeds):
    stopped_run(tmp_path, 0)
    for num_restarts in (1, 2):
        restarted(num_restarts)
        stopped_run(tmp_path, 0)
    assert noted_seeds[0] == 42
    assert len(set(noted_seeds)) == 3


def test_all_ranks_refuse_a_rollout_in_which_one_of_them_has_no_transition(tmp_path):
    function = "tests.policies.rsl_rl.training_ranks:learn_from_nothing_on_one_rank"
    first, second = run_ranks(function, 2, tmp_path)
    assert first.startswith("No row advanced on another rank in the 4 steps")
    assert second.startswith("No row advanced in the 4 steps")


def test_devices_that_ranks_can_not_train_on_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    on_the_first = dataclasses.replace(settings(Path("runs")), device="cuda:0")
    with pytest.raises(ConfigError, match="needs a GPU for each rank, and this one's is cuda:1"):
        train(on_the_first)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert main(["train", "holdstep:CartPole"]) == 2
    assert "--nproc-per-node 1" in capsys.readouterr().err
