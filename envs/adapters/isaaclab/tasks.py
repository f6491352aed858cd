"""Isaac Lab's registered tasks and their configurations."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
from typing import TYPE_CHECKING, Any

import gymnasium

from holdstep.envs.adapters.isaaclab.install import HOW_TO_INSTALL, isaac_sim_is_installed
from holdstep.envs.registry import unknown_env
from holdstep.errors import BackendUnavailableError, ConfigError, nearest_names

if TYPE_CHECKING:
    from collections.abc import Iterable

ENV_CFG = "env_cfg_entry_point"
KITLESS_PRESETS = frozenset({"newton_mjwarp", "newton_renderer"})
"""Isaac Lab 3's names for Newton physics and Newton's camera renderer: both run without Kit."""


def task_names() -> list[str]:
    """Ids of all tasks in Gymnasium's registry that come with an Isaac Lab configuration.

    Those of ``isaaclab_tasks``, and those of any package that the user has imported before.
    """
    import_tasks()
    return [task for task, spec in gymnasium.registry.items() if ENV_CFG in spec.kwargs]


def require_task(name: str) -> None:
    """Raise UnknownEnvError, with the nearest names, unless a task is registered."""
    names = task_names()
    if name not in names:
        raise unknown_env("isaaclab", name, names)


def import_tasks() -> None:
    """Import Isaac Lab's tasks, which registers them.

    Raises:
        BackendUnavailableError: a part of Isaac Lab is missing.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # configurations print on import
            importlib.import_module("isaaclab_tasks")
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            f"Isaac Lab is installed, but importing its tasks needs the package {error.name!r}, "
            f"which is not. {HOW_TO_INSTALL}"
        ) from error


def load_env_cfg(name: str) -> Any:
    """A task's own configuration, new."""
    utils = importlib.import_module("isaaclab_tasks.utils")
    with contextlib.redirect_stdout(io.StringIO()):
        return utils.load_cfg_from_registry(name, ENV_CFG)


def default_presets() -> frozenset[str]:
    """The presets that suit this machine: none with Isaac Sim, those without Kit otherwise."""
    return frozenset() if isaac_sim_is_installed() else KITLESS_PRESETS


def with_presets(cfg: Any, presets: str | Iterable[str] | None) -> Any:
    """An Isaac Lab 3 configuration with its presets chosen, as an object of its own.

    Args:
        cfg: the configuration; parts of it may be shared between all configurations of its class.
        presets: names, or one string with commas between them; None for :func:`default_presets`.

    Raises:
        ConfigError: the configuration has no preset of such a name.
    """
    hydra = importlib.import_module("isaaclab_tasks.utils.hydra")
    # Choosing changes the chosen parts in place, and those may be attributes of classes.
    cfg = copy.deepcopy(cfg)
    if presets is None:
        return copy.deepcopy(hydra.resolve_presets(cfg, default_presets()))
    names = presets.split(",") if isinstance(presets, str) else list(presets)
    names = [stripped for name in names if (stripped := name.strip())]
    known = preset_names(cfg)
    aliases = importlib.import_module("isaaclab_tasks.utils.preset_target")
    accepted = {*known, "default", *aliases.PresetTarget.all_legacy_aliases()}
    for name in names:
        if name not in accepted:
            raise ConfigError(
                f"The task has no preset {name!r}."
                + (nearest_names(name, known) or f" It has: {', '.join(known) or 'none'}.")
            )
    return copy.deepcopy(hydra.resolve_presets(cfg, set(names)))


def preset_names(cfg: Any) -> list[str]:
    """The names of an Isaac Lab 3 configuration's presets, apart from ``default``."""
    sections = importlib.import_module("isaaclab_tasks.utils.hydra").collect_presets(cfg).values()
    return sorted({name for section in sections for name in section} - {"default"})


def has_cameras(cfg: Any) -> bool:
    """Whether a configuration describes a camera sensor anywhere."""
    seen: set[int] = set()
    pending = [cfg]
    while pending:
        node = pending.pop()
        if id(node) in seen or isinstance(node, str | int | float | type):
            continue
        seen.add(id(node))
        if any(base.__name__ == "CameraCfg" for base in type(node).__mro__):
            return True
        if isinstance(node, dict):
            pending += node.values()
        elif isinstance(node, list | tuple):
            pending += node
        else:
            pending += getattr(node, "__dict__", {}).values()
    return False
