"""What comes before an Isaac Lab scene is built: its configuration, and Kit where it needs it."""

from __future__ import annotations

import contextlib
import copy
import importlib
from typing import TYPE_CHECKING, Any

import torch

from holdstep.envs.adapters.isaaclab import kit, tasks
from holdstep.envs.adapters.isaaclab.install import Installation, require_isaac_sim
from holdstep.envs.adapters.isaaclab.rendering import NEEDS_CUDA
from holdstep.envs.overrides import apply_overrides
from holdstep.errors import BackendUnavailableError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def prepare_import(
    installation: Installation, *, device: torch.device, enable_cameras: bool
) -> None:
    """Make ``import isaaclab.envs`` possible: Isaac Lab 2.3 needs Kit for that.

    Args:
        installation: the Isaac Lab that is to be imported.
        device: where physics will run.
        enable_cameras: whether camera sensors and ``render()`` must work.

    Raises:
        BackendUnavailableError: Isaac Sim is needed and not installed.
    """
    if installation.needs_kit_to_import:
        kit.start(installation, device=device, enable_cameras=enable_cameras)


def scene_cfg(
    installation: Installation,
    task: str | None,
    cfg: Any = None,
    *,
    num_envs: int,
    device: torch.device,
    seed: int | None,
    presets: str | Iterable[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Any:
    """A configuration to build from, as an object of its own.

    Args:
        installation: the Isaac Lab that builds it; it can be imported.
        task: a registered task, whose configuration is taken if there is no ``cfg``.
        cfg: a configuration instead of the task's.
        num_envs: rows.
        device: where everything runs.
        seed: Isaac Lab's seed; None leaves its generators as they are.
        presets: Isaac Lab 3's, see :func:`~holdstep.envs.adapters.isaaclab.tasks.with_presets`.
        overrides: settings by dotted path.

    Raises:
        UnknownEnvError: no such task.
        ConfigError: a setting is wrong, or there are presets for 2.3, which has none.
    """
    if task is not None:
        tasks.require_task(task)
    if cfg is None:
        assert task is not None
        cfg = tasks.load_env_cfg(task)
    else:
        cfg = copy.deepcopy(cfg)
    if installation.generation >= 3:
        cfg = tasks.with_presets(cfg, presets)
    elif presets is not None:
        raise ConfigError(f"{installation} has no presets; 3.x does.")
    cfg.scene.num_envs = num_envs
    cfg.sim.device = str(device)
    cfg.seed = seed
    apply_overrides(cfg, overrides or {})
    return cfg


def launch(
    installation: Installation,
    cfg: Any,
    *,
    task: str | None,
    wants_cameras: bool = False,
    render: bool = False,
) -> None:
    """Start what a configuration needs: with Isaac Lab 3 Kit or nothing; with 2.3 Kit runs already.

    Args:
        installation: the Isaac Lab that builds it.
        cfg: the configuration.
        task: its name, for messages.
        wants_cameras: whether camera sensors must work, besides those that the configuration has.
        render: whether ``render()`` must work.

    Raises:
        BackendUnavailableError: Isaac Sim, its cameras or a GPU are needed and not there.
    """
    if installation.generation < 3:
        if tasks.has_cameras(cfg):
            kit.require_cameras()
        return
    utils = importlib.import_module("isaaclab_tasks.utils")
    needs_kit, has_kit_cameras, _ = utils.compute_kit_requirements(cfg)
    if needs_kit:
        require_isaac_sim(installation, _needed_for(task))
        if kit.is_running():
            if wants_cameras or has_kit_cameras:
                kit.require_cameras()
            return
    elif render and not torch.cuda.is_available():
        raise BackendUnavailableError(NEEDS_CUDA)
    arguments = {
        "headless": True,
        "enable_cameras": wants_cameras or has_kit_cameras,
        "device": cfg.sim.device,
    }
    kit.hold_simulation(utils.launch_simulation(cfg, arguments))


@contextlib.contextmanager
def one_open_at_a_time() -> Iterator[None]:
    """Isaac Lab's complaints about a second scene become one that says what to do.

    Raises:
        BackendUnavailableError: another env or host is open in this process.
    """
    try:
        yield
    except (RuntimeError, AttributeError) as error:
        # The manager-based class stumbles over a builtin that Kit would have set.
        known = ("Simulation context already exists", "ISAAC_LAUNCHED_FROM_TERMINAL")
        if not any(words in str(error) for words in known):
            raise
        raise BackendUnavailableError(
            "Another Isaac Lab env or host is open in this process, and there can only be one: "
            "close() it before making the next, or make the next in a process of its own."
        ) from error


def _needed_for(task: str | None) -> str:
    if task is None:
        return "for this configuration"
    known = ", ".join(tasks.preset_names(tasks.load_env_cfg(task))) or "none"
    return f"for {task!r} as configured (its presets: {known})"
