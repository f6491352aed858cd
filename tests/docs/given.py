"""What pages take for granted: names that a reader has in their session, and files in the folder.

A function for each page, called in the page's folder before anything of it is run.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from tests.docs.made import Made

Names = dict[str, Any]

POLICIES = '''
from holdstep.policies.remote import DemoPolicy

def make(env=None):
    """A policy to serve, or for an env."""
    return DemoPolicy()
'''


def readme(made: Made) -> Names:
    """Policies and a planner; how they are made is no matter of the page."""
    from concurrent.futures import ThreadPoolExecutor

    from holdstep.policies import TorchChunkedPolicy

    made.copy_into_page("lift_model", "robot.mjb")
    return {
        "planner": ThreadPoolExecutor(1),
        "plan": lambda obs: obs.sum(),
        "chunked_policy": TorchChunkedPolicy(
            First(8, 7), chunk_length=8, action_dim=7, obs_keys="actor", device="cpu"
        ),
        "trained_policy": First(7),
        "quick": {"backend": "torch", "method": "onnx-torchscript", "obs_keys": "actor"},
    }


class First(torch.nn.Module):
    """Acts by the first of what it sees."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        first = 0.1 * obs[:, : self.shape[-1]]
        return first if len(self.shape) == 1 else first[:, None].expand(-1, *self.shape)


def cli(made: Made) -> Names:
    """A trace of half a minute, a humanoid's export, and its model."""
    from holdstep.timeline import TimelineWriter

    humanoid(made)
    with TimelineWriter("run.jsonl", num_envs=40, clock=lambda: 0.0) as writer:
        for tick in range(300):
            active = np.arange(40) != tick % 40
            writer.tick(active, begin_s=0.1 * tick, end_s=0.1 * tick + 0.08)
    return {}


def humanoid(made: Made) -> None:
    made.copy_into_page("g1_export", "runs/g1/export")
    made.copy_into_page("g1_model", "g1.mjb")


def deployment(made: Made) -> Names:
    """A humanoid's export and model, and an export of Isaac Lab's."""
    humanoid(made)
    shutil.copytree(made.isaaclab_export, ".", dirs_exist_ok=True)
    (file,) = Path().glob("Isaac-*.yaml")
    file.rename("Isaac-Velocity-Flat-Unitree-Go2-v0.yaml")
    return {}


def generation(made: Made) -> Names:
    from mjlab.managers.recorder_manager import RecorderTermCfg

    from tests.wrappers.record.test_mjlab_terms import NotesTransitions

    made.copy_into_page("cartpole_run", "runs")
    made.copy_into_page("lifting", "lifted")
    Path("my_policies.py").write_text(POLICIES)
    return {"cfg": SimpleNamespace(recorders={"csv": RecorderTermCfg(func=NotesTransitions)})}


def lazy_rendering(made: Made) -> Names:
    """A policy that looks at its images."""
    return {"policy": lambda state, image: torch.zeros(len(state), 16, 7) + 0 * image.sum()}


def remote_policies(made: Made) -> Names:
    Path("my_policies.py").write_text(POLICIES)
    Path("token").write_text("sesame\n")
    return {}


def scale(made: Made) -> Names:
    from holdstep.policies.rsl_rl import TrainingSettings

    few = {"num_envs": 2, "iterations": 1, "agent_overrides": {"num_steps_per_env": 4}}
    return {"settings": TrainingSettings(env_id="holdstep:CartPole", device="cpu", **few)}


def suspension(made: Made) -> Names:
    """A task that keeps state of its own: of four rows."""
    return {
        "my_task": SimpleNamespace(
            motor_heat=torch.zeros(4),
            lags=torch.zeros(3, 4),
            ring=torch.zeros(5, 4, 2),
            last_written=0,
        )
    }


def teleop(made: Made) -> Names:
    """A recording of controllers, a retargeter of the reader's own, and a hand on the keyboard."""
    from tests.docs.retargeter import StickToPose
    from tests.policies.teleop.controller_recordings import waving, write_controllers

    write_controllers("session.mcap", waving(20))
    threading.Thread(target=press_escape, daemon=True).start()
    return {"MyRetargeter": StickToPose}


def press_escape() -> None:
    """Until the window is open, and whoever listens there has stopped."""
    import pygame

    from tests.policies.teleop.sdl import keys, thread_names, until

    until(lambda: "holdstep-sdl" in thread_names())

    def pressed() -> bool:
        with contextlib.suppress(pygame.error):  # the window is not open yet, or not any more
            keys("ESCAPE", "-ESCAPE")
        return "holdstep-sdl" not in thread_names()

    until(pressed)


def isaacteleop(made: Made) -> Names:
    """IsaacTeleop's own names, a pipeline on a recording, and what turns its results to actions."""
    from isaacteleop import teleop_session_manager as sessions
    from isaacteleop.deviceio_session import McapReplayConfig
    from isaacteleop.retargeting_engine.interface.execution_events import ExecutionEvents

    from holdstep.envs import make
    from tests.policies.teleop.graphs import pedals_pipeline
    from tests.policies.teleop.pedal_recordings import write_pedals

    path = write_pedals("session.mcap", [(0.1, 0.2, 0.0)] * 400)
    env = make("holdstep:PointMass", num_envs=1, device="cpu")
    env.reset()
    return {name: getattr(sessions, name) for name in sessions.__all__} | {
        "ExecutionEvents": ExecutionEvents,
        "recording": McapReplayConfig(str(path)),
        "build_pipeline": pedals_pipeline,
        "pipeline": pedals_pipeline(),
        "env": env,
        "to_actions": lambda result: torch.from_dlpack(result["action"][0])[None],
    }


GIVEN: dict[str, Callable[[Made], Names]] = {
    "README": readme,
    "cli": cli,
    "coming_from/isaacteleop": isaacteleop,
    "deployment": deployment,
    "generation": generation,
    "lazy_rendering": lazy_rendering,
    "remote_policies": remote_policies,
    "scale": scale,
    "suspension": suspension,
    "teleop": teleop,
}
