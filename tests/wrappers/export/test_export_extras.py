"""Nothing of the extra is imported until it is asked for, and then its name is said."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""
IMPORTS = """
import holdstep, holdstep.cli, holdstep.envs, holdstep.policies, holdstep.wrappers
import holdstep.wrappers.export as export
for name in export.__all__:
    getattr(export, name)
from holdstep.policies import ExportedPolicy
from holdstep.wrappers import AnnotateExport
from holdstep.wrappers.export.backends import make_backend
for method in ("jit-trace", "exported-program", "jit-script", "onnx-dynamo", "onnx-torchscript"):
    make_backend("torch", method)
"""
TINY = """
import pathlib, sys, tempfile
from holdstep.errors import MissingExtraError
from tests.wrappers.export.tiny import export_tiny
from holdstep.wrappers.export.model_runner import load
def says(what, action):
    try:
        action()
    except MissingExtraError as error:
        assert what in str(error) and 'holdstep[export]' in str(error), error
    else:
        raise AssertionError("it ran without " + what)
folder = pathlib.Path(tempfile.mkdtemp())
"""


def run(code, *, blocked=("leapp", "onnx", "onnxruntime", "onnxscript")):
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=set(blocked)) + code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_everything_needs_none_of_the_extra():
    done = run(IMPORTS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("package", "action"),
    [
        ("leapp", "lambda: make_backend('leapp')"),
        ("onnxscript", "lambda: export_tiny(folder, 'onnx-dynamo')"),
        ("onnx", "lambda: export_tiny(folder, 'onnx-torchscript')"),
    ],
)
def test_what_is_missing_is_named(package, action):
    done = run(f"{IMPORTS}{TINY}says({package!r}, {action})")
    assert done.returncode == 0, done.stderr


def test_running_an_onnx_model_names_onnxruntime():
    code = (
        f"{TINY}export_tiny(folder, 'onnx-torchscript')\nsays('onnxruntime', lambda: load(folder))"
    )
    done = run(code, blocked=("leapp", "onnxruntime"))
    assert done.returncode == 0, done.stderr


def test_leapp_is_imported_by_its_backend_only():
    code = (
        f"{TINY}export_tiny(folder, 'jit-trace')\nload(folder, allow_jit=True)\n"
        "loaded = {'leapp', 'onnxruntime'} & set(sys.modules)\nassert not loaded, loaded"
    )
    done = run(code, blocked=())
    assert done.returncode == 0, done.stderr
