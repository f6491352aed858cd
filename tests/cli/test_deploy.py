from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from holdstep.cli import main
from holdstep.wrappers.export.contract import Check
from holdstep.wrappers.export.contract_file import read_contract, write_contract
from tests.wrappers.export.tiny import export_tiny

pytest.importorskip("mujoco", reason="the extra 'mujoco' is not installed")

LEG = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <body name="pelvis">
      <joint name="ankle" axis="0 1 0" damping="1"/>
      <geom size=".1" mass="1"/>
      <body name="thigh" pos=".3 0 0">
        <joint name="hip" axis="0 1 0" damping="1"/>
        <geom size=".1" mass="1"/>
        <body name="shin" pos=".3 0 0">
          <joint name="knee" axis="0 1 0" damping="1"/>
          <geom size=".1" mass="1"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position joint="ankle" kp="30"/><position joint="hip" kp="30"/>
    <position joint="knee" kp="30"/>
  </actuator>
</mujoco>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A real export, and a leg for it."""
    folder = tmp_path_factory.mktemp("deploy")
    export_tiny(folder / "export", "exported-program", num_rows=1)
    (folder / "leg.xml").write_text(LEG)
    return folder


@pytest.fixture
def arguments(folder):
    return [
        "deploy",
        str(folder / "export"),
        *("--host", "mujoco"),
        *("--model", str(folder / "leg.xml")),
        *("--command", "twist=0.5,-0.25"),
    ]


def test_it_runs_and_draws_its_targets(arguments, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    plot = tmp_path / "targets.png"
    assert main([*arguments, "--steps", "25", "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert "25 control steps of 1 rows: 0.50 s simulated in" in printed
    assert "reordered by name" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["targets.png"]


@pytest.mark.parametrize(("options", "num_pictures"), [((), 4), (("--realtime",), 1)])
def test_no_picture_is_drawn_between_steps_in_real_time(
    arguments, options, num_pictures, tmp_path, monkeypatch
):
    from holdstep.cli import deploy
    from holdstep.envs.deployment.target_log import TargetLog

    drawn = []
    monkeypatch.setattr(deploy, "_SECONDS_BETWEEN_PLOTS", -1.0)
    monkeypatch.setattr(TargetLog, "draw", lambda self, path: drawn.append(path) or path)
    plot = ["--plot", str(tmp_path / "targets.png")]
    assert main([*arguments, *plot, "--steps", "3", *options]) == 0
    assert len(drawn) == num_pictures


def test_checks_of_the_export_that_failed_are_shown(folder, arguments, tmp_path, capsys):
    export = tmp_path / "export"
    shutil.copytree(folder / "export", export)
    check = Check("parity", "failed", 0.5, 1e-5, "the actions differ.")
    write_contract(dataclasses.replace(read_contract(export), checks=(check,)), export)
    assert main(["deploy", str(export), *arguments[2:], "--steps", "1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "note: the check 'parity' of the export has the status 'failed'" in printed


def test_in_real_time_it_takes_as_long_as_it_simulates(arguments, capsys):
    begin = time.monotonic()
    assert main([*arguments, "--steps", "20", "--realtime"]) == 0
    assert time.monotonic() - begin > 19 * 0.02


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--steps", "0"], "--steps must be at least 1"),
        (["--plot", "a.pdf"], "must end in .png"),
        (["--command", "height=fast"], "NAME=V or NAME=V,V,V with numbers"),
        (["--command", "twist=1,2"], "twist was given twice"),
        (["--command", "height=1"], "no input 'command:height'"),
        (["--rename", "nothing"], "--rename takes NAME=VALUE"),
        (["--num-envs", "2"], "2 rows were asked for, mujoco has 1"),
        (["--robot", "leg"], "mujoco has no entity 'robot'; it has leg"),
        (["--set", "env.x=1"], "change the MJCF file instead"),
        (["--model", "gone.xml"], "There is no model file 'gone.xml'"),
        (["--host", "mjlab"], "--model is for --host mujoco"),
    ],
)
def test_what_is_wrong_is_said_before_anything_moves(arguments, changes, words, capsys):
    assert main([*arguments, "--steps", "1", *changes]) == 2
    assert words in capsys.readouterr().err


def test_a_command_that_was_not_given_is_an_error(arguments, capsys):
    without = arguments[: arguments.index("--command")]
    assert main([*without, "--steps", "1"]) == 2
    assert "command:twist: was never set" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_without_end_ends_well(arguments, tmp_path, number):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    plot = tmp_path / "targets.png"
    environment = dict(os.environ, PYTHONUNBUFFERED="1", COLUMNS="200")
    process = subprocess.Popen(
        [sys.executable, "-m", "holdstep", *arguments, "--plot", str(plot), "--realtime"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    try:
        line = process.stdout.readline()  # a note: everything is connected
        while "note" not in line and line:
            line = process.stdout.readline()
        time.sleep(1.0)
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    assert "control steps of 1 rows" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
