"""The rsl_rl configurations that Isaac Lab's tasks register, in the form that rsl_rl 5 takes."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any

import gymnasium

from holdstep.envs.adapters.isaaclab import tasks
from holdstep.envs.adapters.isaaclab.install import find_installation
from holdstep.errors import ConfigError

_ENTRY_POINT = "rsl_rl_cfg_entry_point"
_UNUSED = ("device", "empirical_normalization", "load_checkpoint", "load_run", "policy", "resume")
"""Settings of Isaac Lab's own scripts, or of older versions of rsl_rl."""

_MODEL_CLASSES = {"ActorCritic": "MLPModel", "ActorCriticRecurrent": "RNNModel"}
_RNN_OPTIONS = ("rnn_type", "rnn_hidden_dim", "rnn_num_layers")


def load_runner_config(name: str) -> dict[str, Any]:
    """A task's registered rsl_rl configuration as the dictionary that rsl_rl 5's runner takes.

    Args:
        name: task id, such as ``Isaac-Cartpole-v0``; its tasks must be importable, which with
            Isaac Lab 2.3 means that an env was made or listed before.

    Raises:
        UnknownEnvError: there is no such task.
        ConfigError: the task registers no such configuration, or one that rsl_rl 5 has no
            counterpart for.
    """
    tasks.require_task(name)
    registered = gymnasium.spec(name).kwargs
    if _ENTRY_POINT not in registered:
        others = sorted(key.removesuffix("_cfg_entry_point") for key in registered)
        raise ConfigError(
            f"The task {name!r} registers no rsl_rl configuration; it registers: "
            f"{', '.join(others)}. Train it with the rsl_rl view and a configuration of your own."
        )
    utils = importlib.import_module("isaaclab_tasks.utils")
    with contextlib.redirect_stdout(io.StringIO()):
        cfg = utils.load_cfg_from_registry(name, _ENTRY_POINT)
    if find_installation().generation >= 3:
        cfg = tasks.with_presets(cfg, None)
    return for_rsl_rl_5(_plain(cfg))


def for_rsl_rl_5(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a configuration in the style of any rsl_rl since 2.3 into that of 5.

    Before 4, one ``policy`` described both networks and the actor's observations were the set
    ``policy``; in 4, each model had its noise's options itself.

    Args:
        config: plain dictionaries, without unset values.

    Raises:
        ConfigError: the configuration is not for PPO with one of rsl_rl's own networks.

    >>> old = {"policy": {"class_name": "ActorCritic", "init_noise_std": 1.0, "activation": "elu",
    ...     "actor_hidden_dims": [32], "critic_hidden_dims": [32]}, "empirical_normalization": True}
    >>> new = for_rsl_rl_5(old)
    >>> new["actor"]["distribution_cfg"]["init_std"], new["critic"]["obs_normalization"]
    (1.0, True)
    """
    runner = config.get("class_name", "OnPolicyRunner")
    if runner != "OnPolicyRunner" and "actor" not in config:
        raise ConfigError(
            f"The registered rsl_rl configuration is for {runner}, which holdstep does not train. "
            "Use OnPolicyRunner's."
        )
    result = {key: value for key, value in config.items() if key not in _UNUSED}
    if "actor" not in config:
        normalize = bool(config.get("empirical_normalization", False))
        result |= _models_of_policy(config.get("policy", {}), normalize=normalize)
    for name in ("actor", "critic"):
        result[name] = _with_distribution(result[name], stochastic=name == "actor")
    groups = dict(config.get("obs_groups") or {})
    if "policy" in groups:
        groups.setdefault("actor", groups["policy"])
        del groups["policy"]
    result["obs_groups"] = groups
    return result


def _models_of_policy(policy: Mapping[str, Any], *, normalize: bool) -> dict[str, Any]:
    old_class = policy.get("class_name", "ActorCritic")
    if old_class not in _MODEL_CLASSES:
        raise ConfigError(
            f"The registered rsl_rl configuration has a policy of class {old_class!r}, for which "
            f"rsl_rl 5 has no counterpart. Known: {', '.join(_MODEL_CLASSES)}."
        )
    shared = {"class_name": _MODEL_CLASSES[old_class]}
    shared |= {key: policy[key] for key in ("activation", *_RNN_OPTIONS) if key in policy}
    models = {}
    for name in ("actor", "critic"):
        model = dict(shared)
        if f"{name}_hidden_dims" in policy:
            model["hidden_dims"] = policy[f"{name}_hidden_dims"]
        model["obs_normalization"] = policy.get(f"{name}_obs_normalization", normalize)
        models[name] = model
    noise = ("init_noise_std", "noise_std_type", "state_dependent_std")
    models["actor"] |= {key: policy[key] for key in noise if key in policy}
    return models


def _with_distribution(model: Mapping[str, Any], *, stochastic: bool) -> dict[str, Any]:
    """A model with its noise described as a distribution."""
    result = {key: value for key, value in model.items() if value is not None}
    stochastic = bool(result.pop("stochastic", stochastic))
    init_std = result.pop("init_noise_std", 1.0)
    std_type = result.pop("noise_std_type", "scalar")
    depends_on_state = result.pop("state_dependent_std", False)
    if stochastic and "distribution_cfg" not in result:
        kind = "HeteroscedasticGaussian" if depends_on_state else "Gaussian"
        result["distribution_cfg"] = {
            "class_name": f"{kind}Distribution",
            "init_std": init_std,
            "std_type": std_type,
        }
    return result


def _plain(value: Any) -> Any:
    """Configuration objects as dictionaries, without the values that nobody has set."""
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        items = vars(value).items()
    else:
        return value
    # Configuration classes copy their defaults, so that there is more than one MISSING.
    return {key: _plain(item) for key, item in items if not isinstance(item, type(MISSING))}
