"""Tasks and policies of the export matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.wrappers.export.pipeline_tools import (
    CARTPOLE,
    G1,
    GO1,
    LIFT,
    TRACKING,
    export_env,
    rsl_actor,
    write_motion,
)

if TYPE_CHECKING:
    from holdstep.envs import TorchVectorEnv

TASKS = (CARTPOLE, GO1, G1, LIFT, TRACKING)
POLICIES = ("mlp", "normalizer", "gru", "lstm", "history")


def make_env(task: str, kind: str, folder: Path, *, num_envs: int = 3) -> TorchVectorEnv:
    """A task's env; with histories of five frames for the policy of that name."""
    settings: dict[str, Any] = {}
    if task == TRACKING:
        motion = write_motion(folder / "motion.npz")
        settings |= {"commands.motion.motion_file": str(motion), "sim.nconmax": 100}
    if kind == "history":
        settings["observations.actor.history_length"] = 5
    return export_env(task, num_envs=num_envs, **settings)


def make_policy(env: TorchVectorEnv, kind: str) -> Any:
    """An actor with random weights."""
    if kind in ("gru", "lstm"):
        return rsl_actor(env, kind)
    return rsl_actor(env, normalizer=kind == "normalizer")
