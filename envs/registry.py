"""Envs by id: ``make`` and the list of what can be made."""

from __future__ import annotations

import contextlib
import importlib
import operator
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch

from holdstep.envs.device import canonical_device
from holdstep.envs.overrides import check_overrides
from holdstep.errors import ConfigError, UnknownEnvError, nearest_names

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv

BACKENDS: Mapping[str, str] = MappingProxyType(
    {
        "holdstep": "holdstep.envs.reference",
        "gymnasium": "holdstep.envs.adapters.gymnasium_make",
        "mjlab": "holdstep.envs.adapters.mjlab",
        "isaaclab": "holdstep.envs.adapters.isaaclab",
    }
)
"""The module behind each prefix of an id; imported when an env of it is made."""


class Backend(Protocol):
    """What the module behind a prefix provides."""

    def env_names(self) -> list[str]:
        """Names that :meth:`make_env` takes.

        Raises:
            MissingExtraError: the backend is not installed.
            BackendUnavailableError: it is installed and can't run here.
        """
        ...

    def make_env(
        self,
        name: str,
        *,
        num_envs: int,
        device: torch.device,
        seed: int | None,
        render_mode: str | None,
        **overrides: Any,
    ) -> TorchVectorEnv:
        """Build an env; raises UnknownEnvError for a name that is not in :meth:`env_names`."""
        ...


def make(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str | torch.device | None = None,
    seed: int | None = None,
    render_mode: str | None = None,
    lazy_rendering: bool = False,
    **overrides: Any,
) -> TorchVectorEnv:
    """Build an env by id.

    Args:
        env_id: ``backend:name``, with a backend of ``mjlab``, ``isaaclab``, ``gymnasium``,
            ``holdstep`` (the simulator-free reference envs); ``holdstep envs`` lists them.
        num_envs: number of rows, at least 1.
        device: where the tensors live; by default the first GPU, or the CPU without one.
        seed: seeds the env's construction (domain randomisation) and its first ``reset``.
        render_mode: None, or ``"rgb_array"`` where the backend can render.
        lazy_rendering: draw images among the observations only when somebody looks at them, see
            :attr:`TorchVectorEnv.lazy_rendering`.
        **overrides: backend's settings. For mjlab and Isaac Lab: values of the task's own
            configuration by dotted path (``episode_length_s=10.0``,
            ``**{"sim.mujoco.timestep": 0.002}``), ``cfg=`` for a configuration of your own, and
            what the backend's page in the docs names.

    Raises:
        UnknownEnvError: no such env; the message offers the nearest ids.
        ConfigError: an argument or override can't be used.
        CapabilityError: ``lazy_rendering`` where no image can wait.
        MissingExtraError: the backend is not installed; the message names the extra.
        BackendUnavailableError: the backend is installed and can't run here.

    >>> env = make("holdstep:CartPole", num_envs=4, device="cpu", seed=0)
    >>> env.reset()[0]["policy"].shape
    torch.Size([4, 4])
    """
    prefix, name = _split(env_id)
    check_overrides(overrides)
    num_envs = checked_num_envs(num_envs)
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
        raise ConfigError(f"seed must be None or an integer of at least 0, got {seed!r}.")
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    # An env is stepped in any mode, so its buffers must not be inference tensors.
    with torch.inference_mode(False):
        env = backend(prefix).make_env(
            name,
            num_envs=num_envs,
            device=canonical_device(device),
            seed=seed,
            render_mode=render_mode,
            **overrides,
        )
    env.task_id = f"{prefix}:{name}"
    try:
        env.lazy_rendering = lazy_rendering
    except BaseException:
        env.close()
        raise
    return env


def checked_num_envs(num_envs: int) -> int:
    """A number of rows as an ``int``; NumPy's integers are taken too.

    Raises:
        ConfigError: no integer, or less than 1.
    """
    try:
        number = 0 if isinstance(num_envs, bool) else operator.index(num_envs)
    except TypeError:
        number = 0
    if number < 1:
        raise ConfigError(f"num_envs must be an integer of at least 1, got {num_envs!r}.")
    return number


def backend(prefix: str) -> Backend:
    """The module behind a prefix, imported now."""
    return cast("Backend", importlib.import_module(BACKENDS[prefix]))


def list_envs(prefix: str) -> list[str]:
    """All ids of one backend, sorted.

    Raises:
        MissingExtraError: the backend is not installed.
        BackendUnavailableError: it is installed and can't run here.
    """
    return sorted(f"{prefix}:{name}" for name in backend(prefix).env_names())


def unknown_env(prefix: str, name: str, names: list[str]) -> UnknownEnvError:
    """The error for a name that a backend doesn't have, with the nearest that it has."""
    return UnknownEnvError(
        f"There is no env {prefix + ':' + name!r} among the {len(names)} of {prefix!r}."
        + nearest_names(name, names)
        + " `holdstep envs` lists them all."
    )


def _split(env_id: str) -> tuple[str, str]:
    if not isinstance(env_id, str):
        raise ConfigError(
            f"An env's id is a string such as 'holdstep:CartPole', got {env_id!r}. "
            "An env object of your own goes to holdstep.envs.adapt()."
        )
    prefix, colon, name = env_id.partition(":")
    if colon and prefix in BACKENDS:
        return prefix, name
    known = ", ".join(f"{p}:" for p in BACKENDS)
    if colon:
        raise UnknownEnvError(
            f"{env_id!r} starts with an unknown backend {prefix!r}."
            f"{nearest_names(prefix, BACKENDS)} Backends: {known}"
        )
    raise UnknownEnvError(
        f"{env_id!r} names no backend. Ids start with one of {known}{_with_prefix(env_id)}"
    )


def _with_prefix(name: str) -> str:
    """Ids that end like a name without a prefix, as a hint, from the backends that are there."""
    candidates: list[str] = []
    for prefix in BACKENDS:
        # Isaac Lab's tasks can be listed only once Isaac Sim runs, and a typo is no reason to start
        # it.
        if prefix == "isaaclab" and "isaaclab_tasks" not in sys.modules:
            continue
        # A hint must not fail, and backends fail in ways of their own.
        with contextlib.suppress(Exception):
            candidates += list_envs(prefix)
    exact = [candidate for candidate in candidates if candidate.partition(":")[2] == name]
    if exact:
        return f". Did you mean: {', '.join(exact)}?"
    hint = nearest_names(name, [candidate.partition(":")[2] for candidate in candidates])
    return f".{hint}" if hint else "."
