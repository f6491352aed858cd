"""What Isaac Lab 3.0's own exporter writes is read as a contract, and runs on its scene."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from holdstep.envs import DeploymentEnv, IsaacLabHost
from holdstep.wrappers.export.contract_file import write_contract
from holdstep.wrappers.export.isaaclab_export import read_isaaclab_export
from tests.isaaclab.hard_tasks import GO2
from tests.isaaclab.own_export import NUM_STEPS, STATE, task_cfg

ROOT = Path(__file__).parents[2]
WIDTHS = (3, 3, 3, 3, 12, 12, 12)
"""Of the terms of its observation group, each of which remembers three frames."""
WRITE = "write:robot:set_joint_position_target_index"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("leapp") is None,
    reason="leapp is not installed beside Isaac Lab, whose exporter needs it",
)


@pytest.fixture(scope="module", params=["jit-trace", "onnx-torchscript"])
def exported(request, tmp_path_factory):
    """In a process of its own: the exporter patches its env for good."""
    out = tmp_path_factory.mktemp("own")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.isaaclab.own_export",
            str(out),
            request.param,
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_it_is_read_and_writes_the_same_in_the_same_states(exported, assets):
    (file,) = exported.glob(f"{GO2}/*.yaml")
    contract = read_isaaclab_export(file, physics_dt=0.005, decimation=4)
    inputs = {spec.connection: spec for spec in contract.inputs}
    assert inputs["state:robot:joint_pos"].element_names is not None
    histories = [memory for memory in contract.memories if memory.kind == "history"]
    assert [memory.spec.shape for memory in histories] == [(3, width) for width in WIDTHS]
    assert [memory.kind for memory in contract.memories].count("last_action") == 1
    write_contract(contract, file.parent)
    with np.load(exported / "recorded.npz") as recorded:
        states = {name: torch.from_numpy(recorded[name]) for name in (*STATE, "command", "target")}
    with contextlib.redirect_stdout(io.StringIO()):
        host = IsaacLabHost(cfg=task_cfg())
    robot = host.env.scene["robot"]
    with DeploymentEnv(host, file.parent, allow_jit=True) as env:
        env.set_command("base_velocity", states["command"][0])
        env.reset()
        env.step()  # the actuators have run once: until then velocities are clamped to zero
        env.reset()
        for step in range(NUM_STEPS):
            env.set_command("base_velocity", states["command"][step])
            robot.write_root_link_pose_to_sim_index(root_pose=states["root_link_pose_w"][step])
            robot.write_root_link_velocity_to_sim_index(
                root_velocity=states["root_link_vel_w"][step]
            )
            robot.write_joint_position_to_sim_index(position=states["joint_pos"][step])
            robot.write_joint_velocity_to_sim_index(velocity=states["joint_vel"][step])
            host.env.sim.forward()
            outputs = env.step()
            assert torch.allclose(outputs[WRITE], states["target"][step], atol=1e-5), step
