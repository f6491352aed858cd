"""Whether frames can be had from an Isaac Lab env."""

from __future__ import annotations

from typing import Any

import torch

from holdstep.envs.adapters.isaaclab import kit

NEEDS_CUDA = (
    "Isaac Lab renders without Isaac Sim through Newton's viewer, which needs a CUDA device (it "
    "copies frames through pinned memory), and torch finds none here. Make the env without "
    "render_mode, or on a machine with an NVIDIA GPU."
)


_WITHOUT_CAMERAS = (
    "Isaac Sim runs without cameras, which render() needs. Make the env first in a new process, "
    'with render_mode="rgb_array" or enable_cameras=True.'
)


def why_not_renderable(env: Any) -> str | None:
    """What keeps an env from rendering, as an error's message; None when it can.

    Args:
        env: the simulator's env object.
    """
    if env.render_mode != "rgb_array":
        return 'The env was made without rendering: make it with render_mode="rgb_array".'
    if not kit.is_running() and not torch.cuda.is_available():
        return NEEDS_CUDA
    modes = getattr(env.sim, "RenderMode", None)  # 2.3
    if modes is not None and env.sim.render_mode.value < modes.PARTIAL_RENDERING.value:
        return _WITHOUT_CAMERAS
    return None
