"""Gymnasium's registered envs by id: the backend ``gymnasium:``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium
from gymnasium.vector import AutoresetMode

from holdstep.envs.adapters.gymnasium import GymnasiumVectorEnv
from holdstep.envs.contract import TorchVectorEnv
from holdstep.envs.registry import unknown_env
from holdstep.errors import (
    BackendUnavailableError,
    ConfigError,
    MissingExtraError,
    UnknownEnvError,
)

if TYPE_CHECKING:
    import torch


def env_names() -> list[str]:
    """The ids in Gymnasium's registry."""
    return sorted(gymnasium.registry)


def make_env(
    name: str,
    *,
    num_envs: int,
    device: torch.device,
    seed: int | None,
    render_mode: str | None,
    vectorization_mode: str | None = None,
    vector_kwargs: dict[str, Any] | None = None,
    **overrides: Any,
) -> TorchVectorEnv:
    """Build a vector of a registered Gymnasium env.

    Args:
        name: Gymnasium's id, or ``module:id`` to import the module that registers it first.
        num_envs: number of rows.
        device: where the tensors go.
        seed: for the first ``reset``.
        render_mode: passed to the env.
        vectorization_mode: ``"sync"`` (the default where the id has a single env), ``"async"``, or
            ``"vector_entry_point"`` (the env's own vector, which must autoreset in the same step).
        vector_kwargs: options of ``SyncVectorEnv`` or ``AsyncVectorEnv``.
        **overrides: options of the env, ``max_episode_steps`` and the like.

    Raises:
        UnknownEnvError: no such id, or no such module.
        ConfigError: an option that the env does not have.
        BackendUnavailableError: the env, or its module, can't be imported; for the most part
            because a package that it needs is not installed.
    """
    module, colon, env_id = name.rpartition(":")
    if colon:
        _import(module, name)
    if env_id not in gymnasium.registry:
        raise unknown_env("gymnasium", name, env_names())
    if vectorization_mode is None:
        has_single = gymnasium.registry[env_id].entry_point is not None
        vectorization_mode = "sync" if has_single else "vector_entry_point"
    if vectorization_mode in ("sync", "async"):
        vector_kwargs = {"autoreset_mode": AutoresetMode.SAME_STEP} | (vector_kwargs or {})
    if render_mode is not None:
        overrides["render_mode"] = render_mode
    if env_id.startswith("holdstep/"):  # already torch, so the device and seed are its own
        overrides |= {"device": device, "seed": seed}
    try:
        env = gymnasium.make_vec(
            env_id,
            num_envs=num_envs,
            vectorization_mode=vectorization_mode,
            vector_kwargs=vector_kwargs,
            **overrides,
        )
    except MissingExtraError:
        raise
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise BackendUnavailableError(f"gymnasium:{name} can't be made here: {error}") from error
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise ConfigError(f"gymnasium:{name} does not take these options: {error}.") from error
    if isinstance(env, TorchVectorEnv):
        return env
    return GymnasiumVectorEnv(env, device=device, seed=seed)


def _import(module: str, name: str) -> None:
    """Import the module that registers an env."""
    try:
        importlib.import_module(module)
    except (ImportError, TypeError, ValueError) as error:  # the latter two: ".a" and "" are no name
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if not isinstance(error, ImportError) or f"{module}.".startswith(f"{missing}."):
            raise UnknownEnvError(
                f"'gymnasium:{name}' is to be registered by a module {module!r}, and there is none "
                "here. Install the package that has it, or leave the module out of the id."
            ) from error
        raise BackendUnavailableError(
            f"The module {module!r} that is to register 'gymnasium:{name}' can't be imported: "
            f"{error}. Install what it needs."
        ) from error
