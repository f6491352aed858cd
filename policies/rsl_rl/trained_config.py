"""The configuration that a run was trained with, taken from its folder as data only."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdstep.errors import CheckpointError
from holdstep.policies.rsl_rl.masking import MASKED_PPO
from holdstep.policies.rsl_rl.run_dir import RunDir, as_plain
from holdstep.policies.rsl_rl.task_config import decide_obs_groups, registered_config

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv

_MODELS = ("actor", "critic")
_MODEL_OPTIONS = (
    "class_name",
    "hidden_dims",
    "activation",
    "obs_normalization",
    "rnn_type",
    "rnn_hidden_dim",
    "rnn_num_layers",
    "cnn_cfg",
    "distribution_cfg",
)
"""What shapes a network; the other options of a model are the task's own."""


def trained_config(run_dir: RunDir, *, env_id: str, env: TorchVectorEnv) -> dict[str, Any]:
    """The task's own configuration, with the shape of the networks that a run was trained with.

    A run's folder may come from somebody else, and rsl_rl imports and calls whatever a
    configuration names (``class_name: "module:attribute"``). So classes and functions come from the
    task's registry. From ``params/agent.yaml`` come numbers, flags and plain words that shape the
    networks, ``obs_groups`` and ``clip_actions``; and the names of rsl_rl's own classes.

    Args:
        run_dir: the run; without ``params/agent.yaml``, the task's configuration is returned.
        env_id: the id that the env was made by.
        env: the env that the policy will act in.

    Raises:
        CheckpointError: the file is damaged, or names code that the task doesn't register.
        ConfigError: neither it nor the task says which observations the policy sees.
    """
    config = registered_config(env_id, env)
    saved = run_dir.read_agent()
    if saved is not None:
        try:
            _refuse_code(saved, config, "")
            for model in _MODELS:
                if model in saved:
                    config[model] = _model(saved[model], config.get(model), model)
            if "clip_actions" in saved:
                config["clip_actions"] = _bound(saved["clip_actions"])
            if "obs_groups" in saved:
                config["obs_groups"] = _groups(saved["obs_groups"])
        except _RefusedError as error:
            raise CheckpointError(f"{run_dir.path / 'params' / 'agent.yaml'}: {error}") from None
    decide_obs_groups(config, env)
    return config


class _RefusedError(Exception):
    """A setting of a run that can't be taken over."""


def _refuse_code(saved: Any, own: Any, path: str) -> None:
    """Go through all settings, those that aren't used too: what names code must be the task's."""
    if isinstance(saved, list):
        for index, item in enumerate(saved):
            _refuse_code(item, None, f"{path}.{index}")
    if not isinstance(saved, Mapping):
        return
    for key, value in saved.items():
        child = own.get(key) if isinstance(own, Mapping) else None
        where = f"{path}.{key}" if path else str(key)
        if key == "class_name" or str(key).endswith("_func"):
            _code(value, child, where)
        else:
            _refuse_code(value, child, where)


def _code(saved: Any, own: Any, path: str) -> Any:
    """The task's own class or function where it's the one named, or one of rsl_rl's own classes."""
    if saved is None and path.endswith("_func"):
        return None
    # Older runs have the bare names of classes.
    if saved == as_plain(own) or (callable(own) and saved == getattr(own, "__qualname__", None)):
        return own
    if isinstance(saved, str) and saved.isidentifier() and saved in _rsl_rl_classes(path):
        return saved
    if path == "algorithm.class_name" and saved == MASKED_PPO:
        return saved
    raise _RefusedError(
        f"{path} is {saved!r}, but the task registers {as_plain(own)!r}. What a run's folder names "
        "is imported only if it is the task's own, or rsl_rl's: loading it could run code."
    )


def _rsl_rl_classes(path: str) -> tuple[str, ...]:
    """The names that may stand at a path; rsl_rl's utilities are callables, but no classes."""
    where = {
        "class_name": "rsl_rl.runners",
        "algorithm.class_name": "rsl_rl.algorithms",
        "actor.class_name": "rsl_rl.models",
        "critic.class_name": "rsl_rl.models",
        "actor.distribution_cfg.class_name": "rsl_rl.modules",
        "critic.distribution_cfg.class_name": "rsl_rl.modules",
    }.get(path)
    return () if where is None else tuple(importlib.import_module(where).__all__)


def _model(saved: Any, own: Any, path: str) -> dict[str, Any]:
    if not isinstance(saved, Mapping):
        raise _RefusedError(f"{path} is {saved!r}, which describes no network.")
    own = own if isinstance(own, Mapping) else {}
    # Options that shape a network and that the run didn't have are not the task's now, either.
    model = {key: value for key, value in own.items() if key not in _MODEL_OPTIONS}
    for key, value in saved.items():
        where = f"{path}.{key}"
        if key in _MODEL_OPTIONS:
            model[key] = _data(value, own.get(key), where)
        elif key not in own or value != as_plain(own[key]):
            raise _RefusedError(
                f"{where} is {value!r}, but the task registers {as_plain(own.get(key))!r}; it is "
                "none of the settings that are taken from a run's folder."
            )
    return model


def _data(saved: Any, own: Any, path: str) -> Any:
    """A value without anything that could be imported."""
    if saved == as_plain(own):
        return own
    name = path.rpartition(".")[2]
    if name == "class_name" or name.endswith("_func"):
        return _code(saved, own, path)
    if saved is None or isinstance(saved, bool | int | float):
        return saved
    if isinstance(saved, str) and saved.isidentifier():
        return saved
    if isinstance(saved, list):
        return [_data(item, None, f"{path}.{index}") for index, item in enumerate(saved)]
    if isinstance(saved, Mapping) and all(isinstance(key, str) for key in saved):
        children = own if isinstance(own, Mapping) else {}
        return {
            key: _data(value, children.get(key), f"{path}.{key}") for key, value in saved.items()
        }
    raise _RefusedError(f"{path} is {saved!r}; only numbers and plain words are taken from a run.")


def _bound(saved: Any) -> float | None:
    if saved is None:
        return None
    if isinstance(saved, bool) or not isinstance(saved, int | float) or not saved > 0:
        raise _RefusedError(f"clip_actions is {saved!r}; it must be a positive number, or null.")
    return float(saved)


def _groups(saved: Any) -> dict[str, list[str]]:
    fits = isinstance(saved, Mapping) and all(
        isinstance(name, str)
        and isinstance(groups, list)
        and all(isinstance(group, str) for group in groups)
        for name, groups in saved.items()
    )
    if not fits:
        raise _RefusedError(f"obs_groups is {saved!r}; it must be lists of names.")
    return {name: list(groups) for name, groups in saved.items()}
