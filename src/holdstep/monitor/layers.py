"""The layers of a stack, from whatever stands outermost down to the adapter."""

from __future__ import annotations

from holdstep.envs.contract import TorchVectorEnv
from holdstep.errors import ConfigError


def layers_of(stack: object) -> list[object]:
    """A runner or a view of an RL library, if there is one, the wrappers, and the adapter.

    Args:
        stack: the outermost of them.

    Returns:
        Outermost first.

    Raises:
        ConfigError: there is no holdstep env in it.
    """
    layers = [stack]
    while not _is_adapter(layers[-1]):
        inner = getattr(layers[-1], "env", None)
        if inner is None or any(inner is layer for layer in layers):
            raise ConfigError(
                f"There is no holdstep env in {type(stack).__name__}: give an env, a view such as "
                "RslRlVecEnv, or a ChunkRunner."
            )
        layers.append(inner)
    return layers


def env_layers_of(stack: object) -> list[TorchVectorEnv]:
    """Those of :func:`layers_of` that are envs: the wrappers and the adapter."""
    return [layer for layer in layers_of(stack) if isinstance(layer, TorchVectorEnv)]


def _is_adapter(layer: object) -> bool:
    return isinstance(layer, TorchVectorEnv) and layer.unwrapped is layer
