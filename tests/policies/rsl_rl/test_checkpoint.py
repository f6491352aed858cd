"""Checkpoints are data: loading one never runs what somebody put into it."""

import os
import pickle

import pytest
import torch

from holdstep.errors import CheckpointError
from holdstep.policies.rsl_rl.checkpoint import (
    find_checkpoint,
    latest_checkpoint,
    load_checkpoint,
)
from holdstep.policies.rsl_rl.run_dir import RunDir


class RunsCode:
    """Unpickled the ordinary way, this makes a folder: stands for any command."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_plain_checkpoints_load(tmp_path):
    saved = {"actor_state_dict": {"w": torch.ones(2)}, "iter": 3, "infos": {"note": "fine"}}
    torch.save(saved, tmp_path / "model_3.pt")
    loaded = load_checkpoint(tmp_path / "model_3.pt")
    assert loaded["iter"] == 3
    assert torch.equal(loaded["actor_state_dict"]["w"], torch.ones(2))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, zipped):
    trap, file = tmp_path / "ran", tmp_path / "model_0.pt"
    torch.save({"infos": RunsCode(trap)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"could run code.*mkdir"):
        load_checkpoint(file)
    assert not trap.exists()
    torch.load(file, weights_only=False)  # the trap is real
    assert trap.exists()


def test_a_plain_pickle_is_refused_too(tmp_path):
    trap, file = tmp_path / "ran", tmp_path / "model_0.pt"
    file.write_bytes(pickle.dumps(RunsCode(trap)))
    with pytest.raises(CheckpointError):
        load_checkpoint(file)
    assert not trap.exists()


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "model_1.pt")
    torch.save({}, tmp_path / "model_7.pt")
    with pytest.raises(CheckpointError, match=r"Beside it lie: model_7\.pt"):
        load_checkpoint(tmp_path / "model_1.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_checkpoint(tmp_path / "list.pt")
    whole = tmp_path / "model_7.pt"
    whole.write_bytes(whole.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(whole)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, I am a text file\n",
        b"env_id: x\n",
        b"\x80",
        b"\x00" * 64,
        b"PK\x03\x04 no zip",
        pickle.dumps(3),
        pickle.dumps({"a": 1}),
        pickle.dumps([]),
        b"h\x00.",
        b"0.",
    ],
)
def test_garbage_is_damaged_and_not_dangerous(tmp_path, content):
    file = tmp_path / "model_0.pt"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="no torch checkpoint, or is damaged") as caught:
        load_checkpoint(file)
    assert "run code" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch advises to load it unsafely
    assert "\n" not in str(caught.value)


def test_the_latest_is_the_highest_number(tmp_path):
    for iteration in (0, 9, 100, 50):
        torch.save({}, tmp_path / f"model_{iteration}.pt")
    assert latest_checkpoint(tmp_path).name == "model_100.pt"
    for run in ("2026-01-01", "2026-02-01", "2026-03-01_empty"):
        (tmp_path / "experiment" / run).mkdir(parents=True)
    for run in ("2026-01-01", "2026-02-01"):
        torch.save({}, tmp_path / "experiment" / run / "model_3.pt")
    assert latest_checkpoint(tmp_path / "experiment").parent.name == "2026-02-01"
    with pytest.raises(CheckpointError, match="no model_"):
        latest_checkpoint(tmp_path / "nowhere")


def test_runs_of_other_tasks_in_an_experiment_are_passed_over(tmp_path):
    """mjlab's cartpole and holdstep's share a folder's name."""
    for name, env_id in (("2026-01-01", "mjlab:Cartpole"), ("2026-02-01", "holdstep:CartPole")):
        run = RunDir(tmp_path / "cartpole" / name)
        (run.path / "params").mkdir(parents=True)
        run.write_params({"env_id": env_id}, {})
        torch.save({}, run.path / "model_3.pt")
    experiment = tmp_path / "cartpole"
    assert latest_checkpoint(experiment).parent.name == "2026-02-01"
    assert latest_checkpoint(experiment, env_id="mjlab:Cartpole").parent.name == "2026-01-01"
    assert find_checkpoint(experiment, env_id="mjlab:Cartpole").parent.name == "2026-01-01"
    with pytest.raises(CheckpointError, match=r"No run in .* holdstep:CartPole, mjlab:Cartpole"):
        find_checkpoint(experiment, env_id="holdstep:PointMass")
    for named in (experiment / "2026-02-01", experiment / "2026-02-01" / "model_3.pt"):
        with pytest.raises(CheckpointError, match="trained on 'holdstep:CartPole', not on"):
            find_checkpoint(named, env_id="mjlab:Cartpole")
