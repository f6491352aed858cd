"""Which quantities are recorded: names, folders and patterns into columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from holdstep.envs.lazy_obs import LazyObs
from holdstep.errors import ConfigError, nearest_names
from holdstep.wrappers.record.columns import Column, Kind, RowLayout

if TYPE_CHECKING:
    from holdstep.envs.contract import Info, Obs, TorchVectorEnv

STATES, INFO, TELEOP, PROCESSED_ACTIONS = "states", "info", "teleop", "processed_actions"
_NOT_OF_ROWS = frozenset({"log", "active"})


def checked_keys(keys: Sequence[str] | None) -> tuple[str, ...] | None:
    """Keys as a tuple of different names.

    Raises:
        ConfigError: they are none.
    """
    if keys is None:
        return None
    if isinstance(keys, str) or not all(isinstance(key, str) and key for key in keys):
        raise ConfigError(f"keys must be a list of names, got {keys!r}.")
    if not keys:
        raise ConfigError("keys is empty: name what is to be recorded, or leave it out.")
    return tuple(dict.fromkeys(key.strip("/") for key in keys))


def needs_info(keys: Sequence[str] | None) -> bool:
    """Whether something is among the keys of which only a step tells what it is.

    That is entries of its info, and what comes with it from whatever drives the env.
    """
    return needs_driver(keys) or any(_below(key, INFO) for key in keys or ())


def needs_driver(keys: Sequence[str] | None) -> bool:
    """Whether values that come from whatever drives the env are among the keys."""
    return any(_below(key, TELEOP) for key in keys or ())


def needs_obs(keys: Sequence[str] | None, names: Iterable[str]) -> bool:
    """Whether observations are among the keys.

    Args:
        keys: names, folders or patterns.
        names: of the env's observations.
    """
    columns = [f"obs/{name}" for name in names]
    return keys is None or any(_stands_for(key, column) for key in keys for column in columns)


def needs_states(keys: Sequence[str] | None) -> bool:
    """Whether states of the scene are among the keys."""
    return any(_below(key, STATES) for key in keys or ())


def layout_of(
    keys: Sequence[str] | None,
    env: TorchVectorEnv,
    obs: Obs,
    info: Info | None,
    driver: Mapping[str, torch.Tensor] = MappingProxyType({}),
) -> RowLayout:
    """The columns that keys stand for.

    Args:
        keys: names, folders or patterns; None for observations (but images that are drawn only when
            somebody looks), actions, rewards and flags.
        env: the stack.
        obs: of all rows, of which nothing is drawn here.
        info: of a step, or None before the first.
        driver: what came with it from whatever drives the env.

    Raises:
        ConfigError: a key stands for nothing.
        CapabilityError: states are asked for, and the backend can't tell them.
    """
    pending = set(obs.pending) if isinstance(obs, LazyObs) else set()
    columns = {f"obs/{name}": _observation(name, env, obs, pending) for name in obs}
    columns |= _of_each_step(env)
    if keys is None:
        return RowLayout(
            [c for c in columns.values() if c.name.removeprefix("obs/") not in pending]
        )
    if any(fnmatchcase(PROCESSED_ACTIONS, key) for key in keys):
        processed = env.unwrapped.processed_actions()
        if processed is not None:
            columns[PROCESSED_ACTIONS] = _of(PROCESSED_ACTIONS, processed, "step")
    if needs_states(keys):
        for name, value in env.unwrapped.scene_state().items():
            columns[f"{STATES}/{name}"] = _of(f"{STATES}/{name}", value, "observation")
    for column in _entries(info or {}, env.num_envs):
        columns[column.name] = column
    for name, value in driver.items():
        columns[f"{TELEOP}/{name}"] = _of(f"{TELEOP}/{name}", value, "step")
    chosen: dict[str, Column] = {}
    for key in keys:
        found = [name for name in columns if _stands_for(key, name)]
        if not found:
            raise _nothing(key, columns)
        for name in found:
            chosen[name] = columns[name]
            mask = name.replace("/", "/_", 1)
            if _below(name, INFO) and mask in columns:
                chosen[mask] = columns[mask]
    return RowLayout(list(chosen.values()))


def expected_layout(
    keys: Sequence[str] | None, env: TorchVectorEnv, before: RowLayout
) -> RowLayout:
    """What a layout would be, as far as the env's spaces tell that before anything happened.

    Args:
        keys: names, folders or patterns.
        env: the stack.
        before: a layout of an earlier run; where nobody knows yet, the same is expected.
    """
    spaces = env.single_observation_space
    drawn = {f"obs/{name}" for name, how in env.image_obs.items() if how == "lazy"}
    known = {f"obs/{name}": _in_space(name, env) for name in spaces} | _of_each_step(env)
    expected: dict[str, Column] = {}
    for column in before:
        name = column.name
        is_told = name.startswith("obs/") or name in known
        could_be = (
            name in drawn
            if keys is None
            else any(
                _stands_for(key, name) or _stands_for(key, name.replace("/_", "/", 1))
                for key in keys
            )
        )
        if name in known and (could_be or keys is None):
            expected[name] = known[name]
        elif could_be and not is_told:
            expected[name] = column
    for name, column in known.items():
        if name not in drawn and (keys is None or any(_stands_for(key, name) for key in keys)):
            expected.setdefault(name, column)
    return RowLayout(list(expected.values()))


def _stands_for(key: str, name: str) -> bool:
    return _below(name, key) or fnmatchcase(name, key)


def _below(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


def _of(name: str, value: torch.Tensor, kind: Kind) -> Column:
    return Column(name, str(value.dtype).removeprefix("torch."), tuple(value.shape[1:]), kind)


def _observation(name: str, env: TorchVectorEnv, obs: Obs, pending: set[str]) -> Column:
    if name not in pending:
        return _of(f"obs/{name}", obs[name], "observation")
    return _in_space(name, env)


def _in_space(name: str, env: TorchVectorEnv) -> Column:
    space = env.single_observation_space[name]
    return Column(f"obs/{name}", str(space.dtype), tuple(space.shape or ()), "observation")


def _of_each_step(env: TorchVectorEnv) -> dict[str, Column]:
    flags = (Column(name, "bool", (), "step") for name in ("terminated", "truncated"))
    columns = (_actions(env), Column("rewards", "float32", (), "step"), *flags)
    return {column.name: column for column in columns}


def _actions(env: TorchVectorEnv) -> Column:
    space = env.single_action_space
    return Column("actions", str(np.dtype(space.dtype)), tuple(space.shape or ()), "step")


def _entries(info: Mapping[str, Any], num_envs: int) -> list[Column]:
    """The entries that have a value per row, and their masks."""
    columns = []
    for name, value in info.items():
        if name in _NOT_OF_ROWS or not isinstance(value, torch.Tensor | np.ndarray):
            continue
        if value.shape[:1] != (num_envs,) or value.dtype == object:
            continue
        is_mask = name.startswith("_") and name[1:] in info
        if not is_mask:
            columns.append(_of(f"{INFO}/{name}", torch.as_tensor(value), "step"))
            columns.append(Column(f"{INFO}/_{name}", "bool", (), "step"))
    return columns


def _nothing(key: str, columns: Mapping[str, Column]) -> ConfigError:
    why = f"There is nothing named {key!r} to record.{nearest_names(key, columns)}"
    if _below(key, INFO):
        why += " Entries of info are looked for in the first step that is recorded."
    if key == PROCESSED_ACTIONS:
        why += " The backend does not tell what it makes of actions."
    return ConfigError(f"{why} There are: {', '.join(columns)}.")
