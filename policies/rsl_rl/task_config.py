"""The rsl_rl configuration that a task comes with."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from holdstep.envs.registry import unknown_env
from holdstep.errors import ConfigError
from holdstep.extras import require

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv


def runner_config(env_id: str, env: TorchVectorEnv) -> dict[str, Any]:
    """The runner configuration of a task, as the dictionary that rsl_rl takes.

    mjlab's and Isaac Lab's tasks bring their own (from their registries); other envs get PPO with
    two small networks, which solves the reference envs.

    Args:
        env_id: the id that the env was made by.
        env: the env; its observation groups are needed where there is no configuration.

    Raises:
        ConfigError: the task registers no rsl_rl configuration, or it's not clear which
            observations the policy sees.
    """
    config = registered_config(env_id, env)
    decide_obs_groups(config, env)
    return config


def registered_config(env_id: str, env: TorchVectorEnv) -> dict[str, Any]:
    """:func:`runner_config` before overrides: ``obs_groups`` may have None where undecided."""
    prefix, _, name = env_id.partition(":")
    if prefix == "mjlab":
        from holdstep.envs.adapters.mjlab import task_registry

        registry = task_registry()
        if name not in registry.list_tasks():
            raise unknown_env(prefix, name, registry.list_tasks())
        config = asdict(registry.load_rl_cfg(name))
        _drop_unset_model_options(config)
    elif prefix == "isaaclab":
        from holdstep.envs.adapters.isaaclab import load_runner_config

        registered = load_runner_config(name)
        config = asdict(registered) if is_dataclass(registered) else dict(registered)
    else:
        config = small_ppo(env)
        config["experiment_name"] = name.lower()
    # The tasks' own configurations log to a paid service by default, and upload to it.
    config["logger"] = "tensorboard"
    config["upload_model"] = False
    return config


def runner_class(env_id: str) -> type:
    """The runner class that a task is trained with: its own, or rsl_rl's ``OnPolicyRunner``."""
    prefix, _, name = env_id.partition(":")
    if prefix == "mjlab":
        from holdstep.envs.adapters.mjlab import task_registry

        registered: type | None = task_registry().load_runner_cls(name)
        if registered is not None:
            return registered
        mjlab_runner: type = require(
            "mjlab.rl", extra="mjlab", purpose="Training an mjlab task"
        ).MjlabOnPolicyRunner
        return mjlab_runner
    runner: type = require(
        "rsl_rl.runners", extra="rsl-rl", purpose="Training with rsl_rl"
    ).OnPolicyRunner
    return runner


def small_ppo(env: TorchVectorEnv) -> dict[str, Any]:
    """PPO with two hidden layers, for envs that come without a configuration.

    The actor sees the group ``policy`` (or ``actor``, or the only one), the critic ``critic`` where
    there is one. Where it's not clear, ``obs_groups`` has None.
    """
    groups = list(env.single_observation_space.spaces)
    actor: str | None = next((name for name in ("policy", "actor") if name in groups), None)
    if actor is None and len(groups) == 1:
        actor = groups[0]
    critic = "critic" if "critic" in groups else actor
    model = {"class_name": "MLPModel", "hidden_dims": [64, 64], "activation": "elu"}
    return {
        "class_name": "OnPolicyRunner",
        "seed": 42,
        "num_steps_per_env": 32,
        "max_iterations": 100,
        "save_interval": 50,
        "experiment_name": "holdstep",
        "run_name": "",
        "clip_actions": None,
        "obs_groups": {
            "actor": None if actor is None else [actor],
            "critic": None if critic is None else [critic],
        },
        "actor": model
        | {
            "obs_normalization": True,
            "distribution_cfg": {
                "class_name": "GaussianDistribution",
                "init_std": 1.0,
                "std_type": "scalar",
            },
        },
        "critic": model | {"obs_normalization": True},
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": 5,
            "num_mini_batches": 4,
            "learning_rate": 1e-3,
            "schedule": "adaptive",
            "gamma": 0.99,
            "lam": 0.95,
            "entropy_coef": 0.005,
            "desired_kl": 0.01,
            "max_grad_norm": 1.0,
            "value_loss_coef": 1.0,
            "use_clipped_value_loss": True,
            "clip_param": 0.2,
            "rnd_cfg": None,
        },
    }


def decide_obs_groups(config: dict[str, Any], env: TorchVectorEnv) -> None:
    """Let a critic without observation groups see the actor's, in place.

    Raises:
        ConfigError: the actor has none.
    """
    groups = config.get("obs_groups")
    if not isinstance(groups, dict):
        return
    if "actor" in groups and groups["actor"] is None:
        raise ConfigError(
            f"The env's observation groups are {list(env.single_observation_space.spaces)}, so "
            "that it is not clear which one the policy sees. Name it with --set "
            "agent.obs_groups.actor=[GROUP]."
        )
    if "critic" in groups and groups["critic"] is None:
        groups["critic"] = groups["actor"]


def check_config(config: dict[str, Any]) -> None:
    """Refuse values that rsl_rl would stumble over late, or not at all.

    Raises:
        ConfigError: which value, and what it must be.
    """
    for name in ("actor", "critic", "algorithm", "obs_groups"):
        if name in config and not isinstance(config[name], dict):
            raise ConfigError(
                f"agent.{name} is a group of settings and can't be set to {config[name]!r}; set "
                f"one of them: --set agent.{name}.NAME=VALUE."
            )
    for name, groups in config.get("obs_groups", {}).items():
        if not isinstance(groups, list | tuple):
            raise ConfigError(f"agent.obs_groups.{name} must be a list, got {groups!r}.")
    for name in ("num_steps_per_env", "max_iterations", "save_interval"):
        value = config.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"agent.{name} must be a whole number from 1 on, got {value!r}.")
    clip = config.get("clip_actions")
    if clip is not None and (
        isinstance(clip, bool) or not isinstance(clip, int | float) or not clip > 0
    ):
        raise ConfigError(f"agent.clip_actions must be a positive number or null, got {clip!r}.")


def _drop_unset_model_options(config: dict[str, Any]) -> None:
    """Mjlab's model options are None when unset, which rsl_rl's models refuse.

    mjlab's own runner drops them too; done here so that any runner can take the configuration.
    """
    for model in ("actor", "critic"):
        options = config.get(model, {})
        unset = [name for name in ("cnn_cfg", "distribution_cfg") if options.get(name) is None]
        if options.get("rnn_type") is None:
            unset += ["rnn_type", "rnn_hidden_dim", "rnn_num_layers"]
        for name in unset:
            options.pop(name, None)
