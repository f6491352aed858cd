"""What takes a while to make and is given to several pages; made once, when it is first needed."""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
import subprocess
import sys
from pathlib import Path

from holdstep.cli import main
from tests.docs.pages import ROOT

G1 = "mjlab:Mjlab-Velocity-Flat-Unitree-G1"
LIFT = "mjlab:Mjlab-Lift-Cube-Yam"


class Made:
    """Results of earlier work of a reader's: a training, an export, a recording.

    Args:
        folder: where they are kept; pages get copies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy_into_page(self, name: str, path: str) -> None:
        """Put a result to where a page has it, in the current folder."""
        made: Path = getattr(self, name)
        (shutil.copytree if made.is_dir() else shutil.copy)(made, _with_parents(path))

    @functools.cached_property
    def cartpole_run(self) -> Path:
        """The folder of an experiment of one iteration."""
        root = self.folder / "runs"
        _holdstep(
            *("train", "mjlab:Mjlab-Cartpole-Balance", "--num-envs", 2, "--iterations", 1),
            *("--set", "agent.num_steps_per_env=4", "--log-root", root),
        )
        return root

    @functools.cached_property
    def g1_export(self) -> Path:
        """A walking humanoid's network, with random weights."""
        out = self.folder / "g1"
        _holdstep(
            *("export", G1, "--random-weights", "--skip-validation", "--num-envs", 1),
            *("--backend", "torch", "--method", "onnx-torchscript", "--out", out),
        )
        return out

    @functools.cached_property
    def g1_model(self) -> Path:
        """The humanoid in MuJoCo's own format."""
        return self._model(G1)

    @functools.cached_property
    def lift_model(self) -> Path:
        """The arm in MuJoCo's own format."""
        return self._model(LIFT)

    @functools.cached_property
    def isaaclab_export(self) -> Path:
        """An export as Isaac Lab's own exporter writes it; leapp is global, and gets a process."""
        method, task = "onnx-torchscript", "Isaac-Hopper-v0"
        script = ROOT / "tests" / "wrappers" / "export" / "leapp_script.py"
        subprocess.run(
            [sys.executable, "-W", "ignore", str(script), str(self.folder), method],
            check=True,
            capture_output=True,
        )
        return self.folder / method / task

    @functools.cached_property
    def lifting(self) -> Path:
        """A recording of arms that do anything, without images."""
        out = self.folder / "lifting"
        _holdstep(
            *("record", LIFT, "--policy", "random", "--num-episodes", 2, "--num-envs", 2),
            *("--set", "env.episode_length_s=0.1", "--out", out),
        )
        return out

    def _model(self, env_id: str) -> Path:
        from holdstep.envs import MujocoHost

        task = env_id.removeprefix("mjlab:")
        path = self.folder / f"{task}.mjb"
        with contextlib.redirect_stdout(io.StringIO()):
            MujocoHost.from_mjlab(task).save(str(path))
        return path


def _with_parents(path: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(path)


def _holdstep(*words: object) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = main([*map(str, words), "--device", "cpu"])
    assert status == 0, printed.getvalue()
