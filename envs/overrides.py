"""Changes to a backend's own configuration object, by dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from holdstep.errors import ConfigError, nearest_names


def apply_overrides(cfg: Any, overrides: Mapping[str, Any]) -> None:
    """Set values in a configuration of dataclasses, dictionaries and plain objects, in place.

    A value is brought to the type of the one it replaces where that loses nothing: ``"1e-3"`` or
    ``1`` to float, a list to a tuple.

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
    elif isinstance(old, tuple) and isinstance(value, list):
        return tuple(value)
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
