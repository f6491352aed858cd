"""Runs the tests of this folder where Isaac Lab 2.3.2's wheel is on the path."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHEEL = Path(sys.prefix) / "compat" / "isaaclab==2.3.2"
NUM_TESTS = 116
"""Fewer that pass would mean that some are no longer found."""


def run_python(*arguments):
    if not WHEEL.is_dir():
        pytest.skip(f"Isaac Lab 2.3.2's wheel is not in {WHEEL}: python tests/compat/install.py")
    environment = os.environ | {"HOLDSTEP_ISAACLAB23": "1", "PYTHONPATH": str(WHEEL)}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_the_tests_of_this_folder_pass():
    result = run_python(
        "-m", "pytest", "tests/isaaclab23", "-q", "-p", "no:cacheprovider", "--color=no"
    )
    print(result.stdout[-20_000:], result.stderr[-5_000:])
    assert result.returncode == 0
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None
    assert int(passed.group(1)) >= NUM_TESTS


def test_without_isaac_sim_the_error_says_what_to_install():
    script = """
from holdstep.envs import make
from holdstep.envs.registry import list_envs
from holdstep.errors import BackendUnavailableError
for call in (
    lambda: list_envs("isaaclab"),
    lambda: make("isaaclab:Isaac-Cartpole-v0", device="cpu"),
):
    try:
        call()
    except BackendUnavailableError as error:
        print(error)
import sys
print([name for name in sys.modules if name.partition(".")[0] in ("isaaclab", "isaaclab_tasks")])
"""
    result = run_python("-c", script)
    assert result.returncode == 0, result.stderr
    *messages, imported = result.stdout.splitlines()
    assert len(messages) == 2
    assert all("Isaac Lab 2.3.2 is installed, but Isaac Sim is not" in text for text in messages)
    assert all("isaacsim[all,extscache]==5.1.*" in text for text in messages)
    assert imported == "[]"


def test_the_library_is_found_behind_the_wheels_launcher():
    """The launcher's own module of the same name is what Isaac Lab leaves in sys.modules."""
    script = """
import sys
from types import ModuleType
for name in ("isaacsim", "carb"):
    sys.modules[name] = ModuleType(name)
sys.modules["carb"].log_info = print
import isaaclab
assert not hasattr(isaaclab, "ISAACLAB_EXT_DIR")
from holdstep.envs.adapters.isaaclab.kit import expose_library
sys.modules["toml"] = ModuleType("toml")
sys.modules["toml"].load = lambda path: {"package": {"version": "0"}}
for _ in range(2):
    expose_library()
    import isaaclab
    print(isaaclab.ISAACLAB_EXT_DIR.replace("\\\\", "/").endswith("source/isaaclab"))
from importlib.util import find_spec
print(find_spec("isaaclab.utils") is not None, find_spec("isaaclab_tasks") is not None)
"""
    result = run_python("-c", script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-3:] == ["True", "True", "True True"]
