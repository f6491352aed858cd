"""Isaac Lab envs by task id, and adapters around envs that exist."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

import gymnasium
import torch

from holdstep.envs.adapters.isaaclab import tasks
from holdstep.envs.adapters.isaaclab.adapter import IsaacLabEnv
from holdstep.envs.adapters.isaaclab.direct import DirectWorkflow
from holdstep.envs.adapters.isaaclab.install import find_installation
from holdstep.envs.adapters.isaaclab.launch import (
    launch,
    one_open_at_a_time,
    prepare_import,
    scene_cfg,
)
from holdstep.envs.adapters.isaaclab.manager_based import ManagerBasedWorkflow
from holdstep.envs.adapters.isaaclab.multi_agent import MultiAgentWorkflow
from holdstep.envs.adapters.isaaclab.rendering import why_not_renderable
from holdstep.envs.device import canonical_device
from holdstep.errors import BackendUnavailableError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdstep.envs.adapters.isaaclab.workflow import Workflow

_CAMERA_WORDS = re.compile("Albedo|Camera|Depth|RGB|ResNet|Shading|Theia|Tiled|Vis(ion|uomotor)")
"""Words in the ids of tasks that observe images. Isaac Lab 2.3 must know before it can be asked."""


def env_names() -> list[str]:
    """Isaac Lab's registered tasks; with 2.3, this starts Isaac Sim to find out.

    Raises:
        MissingExtraError: Isaac Lab is not installed.
        BackendUnavailableError: it is 2.3 and Isaac Sim is not installed.
    """
    prepare_import(find_installation(), device=_any_device(), enable_cameras=False)
    return tasks.task_names()


def make_env(
    name: str,
    *,
    num_envs: int,
    device: torch.device,
    seed: int | None,
    render_mode: str | None,
    cfg: Any = None,
    presets: str | Iterable[str] | None = None,
    enable_cameras: bool | None = None,
    **overrides: Any,
) -> IsaacLabEnv:
    """Build a registered Isaac Lab task.

    Only one Isaac Lab env can be open in a process. Multi-agent tasks are made with Isaac Lab's own
    conversion to one agent.

    Args:
        name: task id, such as ``Isaac-Cartpole-v0``.
        num_envs: number of rows.
        device: CPU or GPU.
        seed: Isaac Lab's seed; None leaves its generators as they are.
        render_mode: None or ``"rgb_array"``.
        cfg: an env configuration of your own instead of the task's; it is not changed.
        presets: Isaac Lab 3's presets, as names or one string with commas; by default those that
            run without Isaac Sim, where it isn't installed, and the task's own where it is.
        enable_cameras: start Isaac Sim able to render; by default when ``render_mode`` is given,
            when the configuration has a camera (3.x), or when the task's name speaks of one (2.3).
        **overrides: settings of the configuration by dotted path.
    """
    if render_mode not in (None, "rgb_array"):
        raise ConfigError(f"Isaac Lab renders as 'rgb_array' or not at all, got {render_mode!r}.")
    installation = find_installation()
    wants_cameras = render_mode is not None
    if enable_cameras is not None:
        wants_cameras = enable_cameras
    elif installation.generation == 2:
        wants_cameras |= _CAMERA_WORDS.search(name) is not None
    prepare_import(installation, device=device, enable_cameras=wants_cameras)
    cfg = scene_cfg(
        installation,
        name,
        cfg,
        num_envs=num_envs,
        device=device,
        seed=seed,
        presets=presets,
        overrides=overrides,
    )
    launch(installation, cfg, task=name, wants_cameras=wants_cameras, render=bool(render_mode))
    with one_open_at_a_time():
        env = gymnasium.make(name, cfg=cfg, render_mode=render_mode, disable_env_checker=True)
    try:
        adapted = adapt_isaaclab(env)
        why_not = why_not_renderable(adapted.backend_env)
        if render_mode is not None and why_not is not None:
            raise BackendUnavailableError(why_not)
    except BaseException:
        env.close()  # or no other env could be made in this process
        raise
    return adapted


def adapt_isaaclab(env: Any) -> IsaacLabEnv:
    """Wrap an Isaac Lab env that the user built.

    Args:
        env: a ``ManagerBasedRLEnv``, ``DirectRLEnv`` or ``DirectMARLEnv``, or Gymnasium wrappers
            around one; a multi-agent env is converted by Isaac Lab's own function first.

    Raises:
        ConfigError: it is another kind of env, or its actions are not one array.
    """
    classes = importlib.import_module("isaaclab.envs")
    core = env.unwrapped
    if isinstance(core, classes.DirectMARLEnv):
        env = core = classes.multi_agent_to_single_agent(core)
    device = canonical_device(core.device)
    workflow: Workflow
    if isinstance(core, classes.ManagerBasedRLEnv):
        workflow = ManagerBasedWorkflow(core, device)
    elif isinstance(core, classes.DirectRLEnv):
        converted = isinstance(vars(core).get("env"), classes.DirectMARLEnv)
        workflow = (MultiAgentWorkflow if converted else DirectWorkflow)(core, device)
    else:
        raise ConfigError(
            f"{type(core).__name__} is neither a ManagerBasedRLEnv nor a DirectRLEnv or "
            "DirectMARLEnv of Isaac Lab. Envs without rewards and terminations (ManagerBasedEnv), "
            "and Isaac Lab's experimental Warp envs, are not supported."
        )
    generation = find_installation().generation
    # Isaac Lab 3 indexes with Warp kernels, which take 32 bits; 2.3 with torch, which takes 64.
    dtype = torch.int32 if generation >= 3 else torch.int64
    return IsaacLabEnv(env, workflow, env_ids_dtype=dtype)


def _any_device() -> torch.device:
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
