"""Changes to a backend's own configuration object, by dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any

from holdstep.errors import ConfigError, nearest_names

_RESERVED = MappingProxyType(
    {
        "env_id": "the id itself, the first argument",
        "name": "the part of the id after its prefix",
        "num_envs": "num_envs=, or --num-envs",
        "device": "device=, or --device",
        "seed": "seed=, or --seed",
        "render_mode": "render_mode=, which the command line sets by itself",
    }
)
"""What ``make`` takes as arguments of its own, and how they are given."""


def check_overrides(overrides: Mapping[str, Any]) -> None:
    """Refuse overrides of what has an argument or option of its own.

    Args:
        overrides: new values by dotted path.

    Raises:
        ConfigError: an override has such a name; the message says what to use in its place.
    """
    for path in overrides:
        if path in _RESERVED:
            raise ConfigError(
                f"{path!r} is no setting of an env's configuration. Use {_RESERVED[path]}."
            )


def apply_overrides(cfg: Any, overrides: Mapping[str, Any]) -> None:
    """Set values in a configuration of dataclasses, dictionaries and plain objects, in place.

    A value is brought to the type of the one it replaces where that loses nothing: ``"1e-3"`` or
    ``1`` to float, a list to a tuple and back. A sequence is replaced by a sequence only, and a
    dictionary by a dictionary.

    Args:
        cfg: the configuration.
        overrides: new values by dotted path, such as ``{"sim.mujoco.timestep": 0.002}``.

    Raises:
        ConfigError: a path does not exist (with the nearest names), or a value has no fitting type.

    >>> cfg = {"algorithm": {"learning_rate": 1e-3}}
    >>> apply_overrides(cfg, {"algorithm.learning_rate": "3e-4"}); cfg
    {'algorithm': {'learning_rate': 0.0003}}
    """
    for path, value in overrides.items():
        *parents, last = path.split(".")
        target = cfg
        for depth, name in enumerate(parents):
            target = _child(target, name, path=path, at=".".join(parents[:depth]))
        old = _child(target, last, path=path, at=".".join(parents))
        if type(old) is int and _is_declared_float(target, last):
            old = float(old)  # a time limit that happens to be 5
        new = _fitted(value, old, path)
        if isinstance(target, dict):
            target[last] = new
        else:
            setattr(target, last, new)


def _child(target: Any, name: str, *, path: str, at: str) -> Any:
    names = _names(target)
    if name not in names:
        where = f"{at!r}" if at else "the configuration"
        raise ConfigError(
            f"There is no setting {path!r}: {where} ({type(target).__name__}) has no {name!r}."
            + (nearest_names(name, names) or f" It has: {', '.join(sorted(names)) or 'nothing'}.")
        )
    return target[name] if isinstance(target, dict) else getattr(target, name)


def _is_declared_float(target: Any, name: str) -> bool:
    for cls in type(target).__mro__:
        if name in (annotations := vars(cls).get("__annotations__", {})):
            return annotations[name] in (float, "float", float | None, "float | None")
    return False


def _names(target: Any) -> set[str]:
    if isinstance(target, dict):
        return {str(key) for key in target}
    if is_dataclass(target):
        return {field.name for field in fields(target)} | set(vars(target))
    return set(getattr(target, "__dict__", ()))


def _fitted(value: Any, old: Any, path: str) -> Any:
    if isinstance(old, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(old, float):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                pass
    elif isinstance(old, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(old, tuple | list):
        if isinstance(value, tuple | list):
            # Named tuples, and whatever else has a type of its own, stay what they are.
            return value if isinstance(value, type(old)) else _base(old)(value)
    elif isinstance(old, dict):
        if isinstance(value, Mapping):
            return value
    elif isinstance(old, str):
        if isinstance(value, str):
            return value
    else:
        return value
    if value is None:
        return None
    raise ConfigError(
        f"{path!r} is {old!r} ({type(old).__name__}) and can't be set to {value!r} "
        f"({type(value).__name__})."
    )


def _base(sequence: tuple[Any, ...] | list[Any]) -> type[tuple[Any, ...]] | type[list[Any]]:
    return tuple if isinstance(sequence, tuple) else list
