"""Whole episodes handed over to a thread that writes them."""

import threading
from types import SimpleNamespace

import pytest
import torch

from holdstep.cli import main
from holdstep.errors import DatasetError, RecordingError
from holdstep.wrappers.record import Dataset, finish_file, isaaclab_handler
from holdstep.wrappers.record.episode_file import EpisodeFile
from holdstep.wrappers.record.episode_journal import EpisodeJournal


def write(file, value, *, number=None, length=4):
    data = {"actions": torch.full((length, 2), float(value)), "obs": {"policy": torch.ones(4, 3)}}
    file.write(data, number=number, success=True, attributes={"seed": int(value)})
    return data


def actions_in(path):
    with Dataset(path) as dataset:
        return {episode.name: float(episode.arrays["actions"][0, 0]) for episode in dataset}


def test_episodes_are_copied_and_get_the_next_names(tmp_path):
    path = tmp_path / "new" / "demos.hdf5"
    file = EpisodeFile(path, quaternion="xyzw")
    for value in range(3):
        data = write(file, value)
        data["actions"].fill_(-1.0)  # a canary: what is handed over is the caller's again
    write(file, 7, number=4)
    write(file, 8)  # four are there, so it would be the name that is taken
    with pytest.raises(DatasetError, match="'demo_4' already"):
        write(file, 9, number=4)
    file.wait()
    assert file.num_acknowledged == 5
    file.close(compression="none")
    found = actions_in(path)
    assert found == {"demo_0": 0.0, "demo_1": 1.0, "demo_2": 2.0, "demo_4": 7.0, "demo_5": 8.0}


def test_a_later_run_goes_on_with_names_and_what_is_known_of_the_env(tmp_path):
    path = tmp_path / "demos.hdf5"
    for run in range(2):
        file = EpisodeFile(path, quaternion="wxyz")
        file.add_env_args({"env_name": "Lift"})
        assert len(file.names) == run
        write(file, run)
        file.close(compression="none")
    assert actions_in(path) == {"demo_0": 0.0, "demo_1": 1.0}
    with Dataset(path) as dataset:
        assert dataset.env_args["env_name"] == "Lift"
        assert dataset.env_args["quaternion"] == "wxyz"
    with pytest.raises(DatasetError, match="order wxyz"):
        EpisodeFile(path, quaternion="xyzw")
    EpisodeFile(path, quaternion="wxyz").close(compression="none")  # nobody holds the lock


def test_episodes_of_another_env_are_refused(tmp_path):
    path = tmp_path / "demos.hdf5"
    file = EpisodeFile(path, quaternion="xyzw", env_name="Lift")
    write(file, 1)
    file.wait()
    with pytest.raises(DatasetError, match="'Lift'; those of 'Reach'"):
        file.add_env_args({"env_name": "Reach"})
    file.close(compression="none")
    with pytest.raises(DatasetError, match="'Lift'; those of 'Reach'"):
        EpisodeFile(path, quaternion="xyzw", env_name="Reach")
    for known in (None, "", "Lift"):  # the lock was given back
        EpisodeFile(path, quaternion="xyzw", env_name=known).close(compression="none")
    with Dataset(path) as dataset:
        assert dataset.env_args["env_name"] == "Lift"


def test_isaac_labs_recorder_never_loses_the_name_of_the_env(tmp_path, monkeypatch):
    monkeypatch.setattr(isaaclab_handler, "_quaternion", lambda: "xyzw")
    handler, path = isaaclab_handler.AsyncHDF5DatasetFileHandler(), str(tmp_path / "demos")
    handler.create(path, env_name="Lift")
    data = {"actions": torch.ones(3, 2)}
    episode = SimpleNamespace(data=data, success=True, seed=None, is_empty=lambda: False)
    handler.write_episode(episode)
    handler.close()
    with pytest.raises(DatasetError, match="can't be added"):
        handler.create(path, env_name="Reach")
    handler.create(path)
    handler.set_env_name("")
    assert handler.get_env_name() == "Lift"
    handler.close()
    with Dataset(f"{path}.hdf5") as dataset:
        assert dataset.env_args == {"env_name": "Lift", "type": 2}


def test_tools_see_what_a_run_that_died_has_left(tmp_path, capsys):
    path = tmp_path / "demos.hdf5"

    def die_after(*values):
        file = EpisodeFile(path, quaternion="xyzw")
        for value in values:
            write(file, value)
        file.wait()
        file._lock.release()  # as the system does

    die_after(0, 1)
    with pytest.raises(FileNotFoundError, match=r"2 finished episodes.*holdstep dataset repair"):
        Dataset(path)
    assert main(["dataset", "repair", str(path)]) == 0
    assert "2 episodes" in capsys.readouterr().out
    assert Dataset(path).pending is None
    die_after(2)
    assert len(Dataset(path)) == 2
    assert "1 finished episodes are in the journal" in Dataset(path).pending
    assert main(["dataset", "repair", str(path)]) == 0
    assert actions_in(path) == {"demo_0": 0.0, "demo_1": 1.0, "demo_2": 2.0}


def test_one_run_at_a_time(tmp_path):
    path = tmp_path / "demos.hdf5"
    file = EpisodeFile(path, quaternion="xyzw")
    for other in (lambda: EpisodeFile(path, quaternion="xyzw"), lambda: finish_file(str(path))):
        with pytest.raises(RecordingError, match="this very process"):
            other()
    file.close(compression="none")


def test_handing_over_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    gate, append = threading.Event(), EpisodeJournal.append

    def slow(self, episode):
        gate.wait(10)
        append(self, episode)

    monkeypatch.setattr(EpisodeJournal, "append", slow)
    path = tmp_path / "demos.hdf5"
    file = EpisodeFile(path, quaternion="xyzw")
    for value in range(5):
        write(file, value)
    assert file.num_acknowledged == 0
    assert len(file.names) == 5
    gate.set()
    file.close(compression="none")
    assert len(actions_in(path)) == 5


def test_a_disk_that_fails_is_told_and_costs_nothing_that_was_acknowledged(tmp_path, monkeypatch):
    path = tmp_path / "demos.hdf5"
    file = EpisodeFile(path, quaternion="xyzw")
    write(file, 1)
    file.wait()

    def fail(self, episode):
        raise RecordingError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(EpisodeJournal, "append", fail)
        write(file, 2)
        with pytest.raises(RecordingError, match="the disk is full"):
            file.wait()
        for call in (file.check, lambda: write(file, 3), lambda: file.close(compression="none")):
            with pytest.raises(RecordingError, match="the disk is full"):
                call()
    assert not path.exists()
    assert finish_file(str(path)) == 1
    assert actions_in(path) == {"demo_0": 1.0}
