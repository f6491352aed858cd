"""The command line as a user calls it: real processes."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from holdstep import envs
from holdstep.cli import main
from holdstep.cli.doctor import EXTRAS
from holdstep.cli.settings import parse_settings
from holdstep.distributed import Rank
from holdstep.errors import ConfigError

TRAIN = ("train", "holdstep:CartPole", "--device", "cpu", "--num-envs", "2", "--iterations", "1")
COMMANDS = ("envs", "check", "train", "play", "serve", "evaluate", "timeline", "doctor")


def holdstep(*arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "holdstep", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"} | env,
        timeout=300,
    )


def test_it_is_installed_as_a_command():
    done = subprocess.run(
        [Path(sys.executable).parent / "holdstep", "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("holdstep ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command):
    done = holdstep(command, "--help")
    assert done.returncode == 0
    assert f"Example: holdstep {command}" in done.stdout


def test_help_lists_every_command():
    done = holdstep("--help")
    assert all(command in done.stdout for command in COMMANDS)


def test_envs_lists_ids_one_per_line():
    done = holdstep("envs", "holdstep")
    assert done.returncode == 0
    assert done.stdout.split() == ["holdstep:CartPole", "holdstep:PointMass"]
    done = holdstep("envs", "gymnasium", "--match", "cartpole")
    assert "gymnasium:CartPole-v1" in done.stdout.split()


def test_envs_of_an_unknown_backend():
    done = holdstep("envs", "holdstp")
    assert done.returncode == 2
    assert "Did you mean: holdstep" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_passes_and_says_what_it_saw():
    done = holdstep("check", "holdstep:CartPole", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "holdstep:CartPole: ok (64 steps" in done.stdout


def test_check_exits_with_1_on_violations(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text(
        "from holdstep.envs.reference.cartpole import CartPole\n"
        "step = CartPole.step\n"
        "def lies(self, actions):\n"
        "    obs, reward, *rest = step(self, actions)\n"
        "    return obs, reward.double(), *rest\n"
        "CartPole.step = lies\n"
        "from holdstep.cli import main\n"
        "raise SystemExit(main(['check', 'holdstep:CartPole', '--device', 'cpu']))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "reward has dtype torch.float64" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "holdstep:CartPol"], "Did you mean: CartPole"),
        (["check", "holdstep:CartPole", "--num-envs", "0"], "num_envs"),
        (["train", "holdstep:CartPole", "--set", "gamma=1"], "--set takes env.PATH=VALUE"),
        (["train", "holdstep:CartPole", "--device", "cpu", "--set", "agent.gama=1"], "no setting"),
        (["play", "holdstep:CartPole", "--checkpoint", "no.pt"], "no checkpoint at no.pt"),
        (["train", "holdstep:CartPole", "--resume", "no.pt"], "no checkpoint at no.pt"),
        ([*TRAIN, "--set", "agent.clip_actions=abc"], "clip_actions"),
        ([*TRAIN, "--set", "agent.actor.hidden_dims=64"], "hidden_dims|rsl_rl can't train"),
        ([*TRAIN, "--set", "agent.algorithm=x"], "algorithm"),
        ([*TRAIN, "--set", "agent.num_steps_per_env=0"], "num_steps_per_env"),
        ([*TRAIN, "--log-root", "/proc/x"], "/proc/x"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(arguments, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert_is_one_line(capfd.readouterr().err, message)


@pytest.mark.parametrize("arguments", [["check", "holdstep:CartPol"], [*TRAIN, "--seed", "-1"]])
def test_nothing_else_is_printed_by_a_process_that_fails(arguments):
    """What packages print while they are imported, too."""
    done = holdstep(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert_is_one_line(done.stderr, "Did you mean|seed")


def assert_is_one_line(printed, message):
    assert printed.startswith("error: ")
    assert re.search(message, printed)
    assert "Traceback" not in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "no.pt"], "no checkpoint at no.pt"),
        (["--checkpoint", "."], "There is no model_"),
        (["--checkpoint", "model_0.pt", "--video", "out.gif"], "must end in .mp4"),
        (["--checkpoint", "model_0.pt", "--max-steps", "0"], "--max-steps must be at least 1"),
        (["--checkpoint", "model_0.pt", "--max-steps", "-5"], "--max-steps must be at least 1"),
        (["--checkpoint", "model_0.pt"], "no torch checkpoint"),
    ],
)
def test_play_looks_at_its_arguments_before_it_builds(
    arguments, message, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    monkeypatch.chdir(tmp_path)
    if "model_0.pt" in arguments:
        Path("model_0.pt").write_text("no weights")

    def make(*args, **kwargs):
        raise AssertionError("built")

    monkeypatch.setattr("holdstep.envs.make", make)
    assert main(["play", "holdstep:CartPole", "--device", "cpu", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_ranks_play_with_seeds_of_their_own(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    from holdstep.policies import episodes

    common = ["holdstep:CartPole", "--device", "cpu", "--num-envs", "2"]
    short = ["--iterations", "1", "--set", "agent.num_steps_per_env=8"]
    assert main(["train", *common, *short, "--log-root", str(tmp_path)]) == 0
    seeds = []
    play_first_episodes, make = episodes.play_first_episodes, envs.make

    def play_and_note(*args, seed, **kwargs):
        seeds.append(seed)
        return play_first_episodes(*args, seed=seed, **kwargs)

    def make_and_note(*args, seed, **kwargs):
        seeds.append(seed)
        return make(*args, seed=seed, **kwargs)

    monkeypatch.setattr(episodes, "play_first_episodes", play_and_note)
    monkeypatch.setattr(envs, "make", make_and_note)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        play = ["--checkpoint", str(tmp_path / "cartpole"), "--seed", "7", "--max-steps", "3"]
        assert main(["play", *common, *play]) == 0
    assert seeds == [7, 7, Rank(1, 2).seed(7), Rank(1, 2).seed(7)]


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    """As in `holdstep envs gymnasium | true`."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "holdstep", "envs", "gymnasium"],
        stdout=write, stderr=subprocess.PIPE, text=True, timeout=300,
    )  # fmt: skip
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


def test_a_broken_pipe_of_a_simulator_is_an_error(monkeypatch, capsys):
    def run(self):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("holdstep.cli.envs.Envs.run", run)
    assert main(["envs"]) == 2
    assert "Broken pipe" in capsys.readouterr().err


def test_debugging_gives_the_traceback():
    done = holdstep("check", "holdstep:CartPol", HOLDSTEP_DEBUG="1")
    assert "Traceback" in done.stderr


def test_train_play_and_film(tmp_path):
    pytest.importorskip("rsl_rl", reason="the extra 'rsl-rl' is not installed")
    imageio = pytest.importorskip("imageio.v3", reason="the extra 'video' is not installed")
    common = ("holdstep:CartPole", "--device", "cpu")
    done = holdstep(
        "train", *common, "--num-envs", "8", "--iterations", "3", "--log-root", str(tmp_path),
        "--set", "agent.num_steps_per_env=8", "--set", "env.max_episode_length=20",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "checkpoint" in done.stdout
    run = next((tmp_path / "cartpole").iterdir())
    assert (run / "model_2.pt").is_file()
    curve = imageio.imread(run / "reward_curve.png")
    assert curve.std() > 1  # something is drawn

    video = tmp_path / "out.mp4"
    done = holdstep(
        "play", *common, "--checkpoint", str(run), "--num-envs", "4", "--video", str(video),
        "--set", "env.max_episode_length=20",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 of 4" in done.stdout
    frames = imageio.imread(video)
    assert 8 <= len(frames) <= 20
    assert (frames[0].astype(int) - frames[-1].astype(int)).any()  # it moves


def test_settings_are_read_as_yaml():
    env, agent = parse_settings(["env.a.b=[1, 2]", "agent.c=true", "env.d=x=y", "agent.e="])
    assert env == {"a.b": [1, 2], "d": "x=y"}
    assert agent == {"c": True, "e": None}
    with pytest.raises(ConfigError, match="no YAML"):
        parse_settings(["env.a=[1"])


def test_doctor_looks_for_what_every_extra_brings():
    config = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = config["project"]["optional-dependencies"]
    looked_for = {name for names in EXTRAS.values() for name in names}
    for extra in extras.keys() - {"docs", "dev", "isaacsim"}:
        assert extra in EXTRAS
        needed = {re.match(r"[\w-]+", requirement)[0] for requirement in extras[extra]}
        assert needed <= looked_for


def test_doctor_reports_packages_and_backends():
    done = holdstep("doctor")
    assert done.returncode == 0, done.stderr
    assert "torch" in done.stdout
    for name in ("holdstep", "gymnasium", "mjlab", "isaaclab"):
        assert name in done.stdout
