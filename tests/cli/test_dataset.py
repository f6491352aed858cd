"""``holdstep dataset ...``."""

import h5py
import numpy as np
import pytest

from holdstep.cli import main
from holdstep.envs import make
from holdstep.wrappers.record import Dataset
from holdstep.wrappers.record.episode_journal import EpisodeJournal
from holdstep.wrappers.record.formats.hdf5 import write_shard
from tests.wrappers.record.made_episodes import ENV_ARGS, assert_same, made_episode
from tests.wrappers.record.test_replay import recorded


@pytest.fixture
def path(tmp_path):
    episodes = [made_episode(n, 4 + n, success=n != 1) for n in range(3)]
    write_shard(tmp_path / "a.hdf5", episodes, env_args=ENV_ARGS)
    return tmp_path / "a.hdf5"


def run(*arguments):
    return main(["dataset", *map(str, arguments)])


def cells(printed):
    rows = [line.strip("│┃ ").split("│") for line in printed.splitlines() if "│" in line]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_info(path, capsys):
    assert run("info", path) == 0
    shown = cells(capsys.readouterr().out)
    assert shown["env"] == ["holdstep:PointMass"]
    assert shown["episodes"] == ["3"]
    assert shown["length [steps]"] == ["5.0 (4 to 6)"]
    assert shown["success"] == ["0.667 of 3"]
    assert shown["ended"] == ["terminated 3"]
    assert shown["obs/policy"] == ["(4)", "float32"]


def test_names_are_printed_as_they_are(tmp_path, capsys):
    write_shard(tmp_path / "a.hdf5", [made_episode()], env_args={"env_name": "arm:robot:2"})
    assert run("info", tmp_path / "a.hdf5") == 0
    assert cells(capsys.readouterr().out)["env"] == ["arm:robot:2"]


def test_validate(path, capsys):
    assert run("validate", path) == 0
    assert "3 episodes in 1 files: no problems" in capsys.readouterr().out
    with h5py.File(path, "r+") as file:
        file["data/demo_1/rewards"][0] = np.nan
        file["data/demo_2"].attrs["ended"] = "closed"
    assert run("validate", path) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 episodes in 1 files: 2 problems" in printed
    assert "is not finite at step 0" in printed


def test_merge(path, tmp_path, capsys):
    assert run("merge", path, path, "--out", tmp_path / "b.hdf5", "--success", "succeeded") == 0
    merged = Dataset(tmp_path / "b.hdf5")
    for number, (found, old) in enumerate(zip(merged, [0, 2, 0, 2], strict=True)):
        assert_same(found, made_episode(old, 4 + old), name=f"demo_{number}")
    assert "4 episodes" in capsys.readouterr().out
    assert run("merge", path, "--out", tmp_path / "b.hdf5") == 2
    assert "nothing is ever written over it" in capsys.readouterr().err
    assert run("merge", path, "--out", tmp_path / "b.hdf5", "--append") == 0
    assert len(Dataset(tmp_path / "b.hdf5")) == 7


@pytest.mark.parametrize("to", ["isaaclab", "robomimic", "lerobot", "minari"])
def test_convert(path, tmp_path, capsys, to):
    if to == "lerobot":
        pytest.importorskip("pyarrow", reason="the extra 'convert' is not installed")
    if to == "minari":
        pytest.importorskip("minari", reason="the extra 'minari' is not installed")
    out = tmp_path / ("out.hdf5" if to in ("isaaclab", "robomimic") else "out")
    assert run("convert", path, "--to", to, "--out", out, "--success", "failed") == 0
    assert "1 episodes" in capsys.readouterr().out
    assert run("convert", path, "--to", to, "--out", out) == 2
    assert "nothing is ever written over it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "isaaclab", "--fps", "3"], "--fps is for lerobot, not for isaaclab"),
        (["--to", "lerobot", "--compression", "gzip"], "--compression is for isaaclab and"),
        (["--to", "lerobot", "--key", "obs/policy"], "--key takes ARRAY=NAME"),
        (["--to", "lerobot", "--key", "obs/polcy=a"], "Did you mean: obs/policy?"),
        (["--to", "minari", "--dataset-id", "x"], "'x' is no id of a Minari dataset"),
    ],
)
def test_a_conversion_that_can_not_be_meant(path, tmp_path, capsys, arguments, message):
    if "minari" in arguments:
        pytest.importorskip("minari", reason="the extra 'minari' is not installed")
    assert run("convert", path, "--out", tmp_path / "out", *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_plot(path, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    assert run("plot", path) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert run("plot", path, "--png", tmp_path / "new" / "b.png", "--success", "failed") == 0
    assert (tmp_path / "new" / "b.png").exists()


def test_replay(tmp_path, capsys):
    env = make("holdstep:PointMass", num_envs=2, device="cpu", seed=0)
    episodes = list(recorded(env, 6))
    episodes[1].arrays["actions"][4] += 0.2
    write_shard(tmp_path / "a.hdf5", episodes, env_args={"env_name": "holdstep:PointMass"})
    assert run("replay", tmp_path / "a.hdf5", "--device", "cpu", "--num-episodes", 1) == 0
    capsys.readouterr()
    assert run("replay", tmp_path / "a.hdf5", "--device", "cpu", "--png", tmp_path / "r.png") == 1
    shown = cells(capsys.readouterr().out)
    assert shown["demo_0"] == ["6 of 6", "0", "0", "0", "0", "-", "yes"]
    assert shown["demo_1"][5:] == ["step 4", "yes"]
    assert (tmp_path / "r.png").exists()


def test_what_a_file_says_imports_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "planted_module.py").write_text("raise SystemExit('imported')")
    env_args = {"env_name": "gymnasium:planted_module:Env-v0"}
    write_shard(tmp_path / "a.hdf5", [made_episode()], env_args=env_args)
    assert run("replay", tmp_path / "a.hdf5", "--device", "cpu") == 2
    assert "add --env-id gymnasium:planted_module:Env-v0" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="imported"):  # for who says so
        run("replay", tmp_path / "a.hdf5", "--env-id", env_args["env_name"], "--device", "cpu")


@pytest.mark.parametrize("tool", ["merge", "convert", "plot", "info", "validate", "replay"])
def test_tools_tell_that_episodes_are_pending(tmp_path, capsys, tool):
    path = tmp_path / "a.hdf5"
    if tool == "plot":
        pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    env = make("holdstep:PointMass", num_envs=2, device="cpu", seed=0)
    write_shard(path, list(recorded(env, 3)), env_args=ENV_ARGS)
    journal = EpisodeJournal(path)
    journal.append(made_episode(7))
    journal.abandon()
    options = {
        "merge": ["--out", tmp_path / "b.hdf5"],
        "convert": ["--to", "isaaclab", "--out", tmp_path / "b.hdf5"],
        "replay": ["--device", "cpu"],
    }
    assert run(tool, path, *options.get(tool, [])) == 0
    assert "note: 1 finished episodes are in the journal of" in capsys.readouterr().out


@pytest.mark.parametrize("tool", ["info", "validate", "plot", "replay", "repair"])
def test_what_is_no_dataset(tmp_path, capsys, tool):
    (tmp_path / "a.hdf5").write_bytes(b"no HDF5 at all")
    (tmp_path / "empty").mkdir()
    for name in ("nothing.hdf5", "a.hdf5", "empty"):
        assert run(tool, tmp_path / name) in (1, 2)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert name in (printed.err + printed.out).replace("\n", "")


@pytest.mark.parametrize(
    "tool", ["info", "validate", "repair", "merge", "convert", "plot", "replay"]
)
def test_help_has_an_example(tool, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(tool, "--help")
    assert stopped.value.code == 0
    assert f"Example: holdstep dataset {tool}" in " ".join(capsys.readouterr().out.split())
