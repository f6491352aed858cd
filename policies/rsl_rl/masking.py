"""Which algorithm learns from a stack that can suspend rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdstep.errors import ConfigError
from holdstep.extras import require
from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.held_rows import HeldRows

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv

MASKED_PPO = "holdstep.policies.rsl_rl:MaskedPPO"
"""The name by which rsl_rl's runners find it."""


def mask_learning(config: dict[str, Any], env: TorchVectorEnv) -> None:
    """Learn with MaskedPPO where rsl_rl's PPO is named and rows may stand still, in place.

    Args:
        config: a runner's configuration.
        env: the stack to learn on.

    Raises:
        ConfigError: rows may stand still, and the algorithm is neither PPO nor a MaskedPPO.
    """
    if find_wrapper(env, HeldRows) is None:
        return
    purpose = "Training with rsl_rl"
    ppo = require("rsl_rl.algorithms", extra="rsl-rl", purpose=purpose).PPO
    resolve = require("rsl_rl.utils", extra="rsl-rl", purpose=purpose).resolve_callable
    from holdstep.policies.rsl_rl.masked_ppo import MaskedPPO

    named = config["algorithm"].get("class_name")
    try:
        algorithm = resolve(named)
    except (ImportError, AttributeError, TypeError, ValueError):
        return  # the runner says what is wrong with the name
    if algorithm is ppo:
        config["algorithm"]["class_name"] = MASKED_PPO
    elif not (isinstance(algorithm, type) and issubclass(algorithm, MaskedPPO)):
        raise ConfigError(
            f"Rows of this stack can be suspended, and agent.algorithm.class_name is {named!r}, "
            f"which would learn from steps that they did not take. Use {MASKED_PPO!r} or a "
            "subclass of it, or train in code of your own with RslRlVecEnv(env, gather=True)."
        )
