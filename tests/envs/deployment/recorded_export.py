"""Exports a policy on mjlab, and records what its env wrote in each of a row of states.

    python -m tests.envs.deployment.recorded_export OUT METHOD

Other simulators' hosts are put into the same states, and must write the same. It is a program,
since theirs run in an interpreter of their own, which may have no mjlab.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[3]
TASK = "Mjlab-Velocity-Flat-Unitree-Go1"
NUM_STEPS = 8
NUM_ENVS = 2
WRITE = "write:robot:set_joint_position_target"
STATE = ("pos", "quat", "lin_vel", "ang_vel", "joint_pos", "joint_vel")


@dataclass(frozen=True)
class Recorded:
    """What the env was like before each step, and what was written in it.

    Attributes:
        folder: of the export, with the robot's model for MuJoCo, ``robot.mjb``.
        joint_names: in the env's order.
        states: by name, ``[steps, rows, ...]``: the root link's position in the env [m] and
            orientation (w, x, y, z), its velocities in the world, the joints'.
        commands: ``[steps, rows, 3]``.
        targets: of the joints, ``[steps, rows, J]`` [rad].
    """

    folder: Path
    joint_names: tuple[str, ...]
    states: dict[str, torch.Tensor]
    commands: torch.Tensor
    targets: torch.Tensor

    def state(self, step: int, joint_names: tuple[str, ...]) -> dict[str, torch.Tensor]:
        """What a row was like, with the joints in another order."""
        order = [self.joint_names.index(name) for name in joint_names]
        return {
            name: value[step][:, order] if name.startswith("joint") else value[step]
            for name, value in self.states.items()
        }

    def target(self, step: int, joint_names: tuple[str, ...]) -> torch.Tensor:
        """What was written, with the joints in another order."""
        return self.targets[step][:, [self.joint_names.index(name) for name in joint_names]]


def record(out: Path, method: str, *, python: Path | None = None) -> Recorded:
    """Run this file, and read what it wrote.

    Args:
        out: a folder that does not exist.
        method: by which the model is written.
        python: an interpreter with mjlab; None takes the one of ``.venv``. Without one, the test is
            skipped.
    """
    python = python or ROOT / ".venv" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"there is no {python}, with mjlab, to export a policy with")
    # Not this process's: its paths may lead to another simulator's packages.
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run(
        [str(python), "-m", __name__, str(out), method],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out / "recorded.npz") as file:
        found = {name: torch.from_numpy(file[name]) for name in (*STATE, "command", "target")}
        names = tuple(str(name) for name in file["joint_names"])
    states = {name: found[name] for name in STATE}
    return Recorded(out, names, states, found["command"], found["target"])


def root_lin_vel(env: Any) -> torch.Tensor:
    """In the root link's frame [m/s]."""
    return env.scene["robot"].data.root_link_lin_vel_b


def root_ang_vel(env: Any) -> torch.Tensor:
    """In the root link's frame [rad/s]."""
    return env.scene["robot"].data.root_link_ang_vel_b


def root_quat(env: Any) -> torch.Tensor:
    """Of the root link in the world, w, x, y, z."""
    return env.scene["robot"].data.root_link_quat_w


def task_cfg() -> Any:
    """The task, observed in quantities that every simulator has; with a memory of two frames."""
    from mjlab.managers.observation_manager import ObservationTermCfg as Term

    from tests.envs.deployment.test_export_and_deploy import nominal_cfg

    cfg = nominal_cfg(TASK)
    group = cfg.observations["actor"]
    kept = {name: term for name, term in group.terms.items() if name in ("joint_pos", "joint_vel")}
    group.terms = {
        "lin_vel": Term(func=root_lin_vel),
        "ang_vel": Term(func=root_ang_vel),
        "quat": Term(func=root_quat),
        **{name: group.terms[name] for name in ("projected_gravity", "actions", "command")},
        **kept,
    }
    group.enable_corruption = False
    group.history_length = 2
    cfg.observations = {"actor": group}
    cfg.rewards, cfg.terminations, cfg.curriculum = {}, {}, {}
    return cfg


def main(out: Path, method: str) -> None:
    """Export and record."""
    from holdstep.envs import MujocoHost
    from holdstep.wrappers.export.export import export_policy
    from tests.wrappers.export.pipeline_tools import export_env, rsl_actor

    torch.set_num_threads(1)
    env = export_env(TASK, num_envs=NUM_ENVS, cfg=task_cfg())
    actor = rsl_actor(env, normalizer=True)
    export_policy(env, actor, out, backend="torch", method=method, num_steps=4)
    core = env.backend_env
    robot = core.scene["robot"]
    data = robot.data
    obs, _ = env.reset(seed=3)
    recorded: dict[str, list[torch.Tensor]] = {}
    for _ in range(NUM_STEPS):
        now = {
            "pos": data.root_link_pos_w - core.scene.env_origins,
            "quat": data.root_link_quat_w,
            "lin_vel": data.root_link_lin_vel_w,
            "ang_vel": data.root_link_ang_vel_w,
            "joint_pos": data.joint_pos,
            "joint_vel": data.joint_vel,
            "command": core.command_manager.get_command("twist"),
        }
        for name, value in now.items():
            recorded.setdefault(name, []).append(value.clone())
        obs, *_ = env.step(_actions(actor, obs))
        recorded.setdefault("target", []).append(data.joint_pos_target.clone())
    MujocoHost.from_mjlab(cfg=task_cfg()).save(str(out / "robot.mjb"))
    arrays = {name: torch.stack(values).numpy() for name, values in recorded.items()}
    np.savez(out / "recorded.npz", joint_names=np.array(robot.joint_names), **arrays)
    env.close()


def _actions(actor: Any, obs: Any) -> torch.Tensor:
    from tensordict import TensorDict

    with torch.inference_mode():
        return actor(TensorDict(obs, batch_size=[NUM_ENVS])).clone()


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        main(Path(sys.argv[1]), sys.argv[2])
