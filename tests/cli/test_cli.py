"""The command line as a user calls it: real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdstep.cli.settings import parse_settings
from holdstep.errors import ConfigError

COMMANDS = ("envs", "check", "train", "play", "doctor")


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
    ],
)
def test_errors_are_one_line_that_says_what_to_do(arguments, message, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "holdstep", *arguments],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


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


def test_doctor_reports_packages_and_backends():
    done = holdstep("doctor")
    assert done.returncode == 0, done.stderr
    assert "torch" in done.stdout
    for name in ("holdstep", "gymnasium", "mjlab", "isaaclab"):
        assert name in done.stdout
