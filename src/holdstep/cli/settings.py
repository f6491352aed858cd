"""``--set KEY=VALUE``: settings of an env or a runner, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from holdstep.envs.overrides import check_overrides
from holdstep.errors import ConfigError

_SCOPES = ("env", "agent")


def parse_settings(settings: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings by scope.

    Args:
        settings: such as ``["env.episode_length_s=10", "agent.algorithm.gamma=0.98"]``; values are
            read as YAML.

    Returns:
        The env's and the agent's settings by dotted path, without the scope.

    Raises:
        ConfigError: an entry is not ``env.PATH=VALUE`` or ``agent.PATH=VALUE``.

    >>> parse_settings(["env.episode_length_s=10", "agent.actor.hidden_dims=[32, 32]"])
    ({'episode_length_s': 10}, {'actor.hidden_dims': [32, 32]})
    """
    by_scope: dict[str, dict[str, Any]] = {scope: {} for scope in _SCOPES}
    for setting in settings:
        key, equals, text = setting.partition("=")
        scope, dot, path = key.strip().partition(".")
        if not equals or not dot or not path or scope not in by_scope:
            raise ConfigError(
                f"--set takes env.PATH=VALUE or agent.PATH=VALUE, got {setting!r}. For example: "
                "--set agent.algorithm.learning_rate=3e-4"
            )
        try:
            by_scope[scope][path] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"The value of {key!r} is no YAML: {text!r}.") from error
    check_overrides(by_scope["env"])
    return by_scope["env"], by_scope["agent"]
