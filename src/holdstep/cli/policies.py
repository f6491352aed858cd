"""Policies as the command line names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from holdstep.envs import TorchVectorEnv
    from holdstep.envs.contract import Obs

ZERO, RANDOM = "zero", "random"


def make_policy(
    env: TorchVectorEnv,
    *,
    env_id: str,
    checkpoint: Path | None = None,
    policy: str | None = None,
    seed: int = 0,
) -> Any:
    """A policy from a checkpoint of rsl_rl, or from code.

    Args:
        env: the stack that it will act in.
        env_id: of the env.
        checkpoint: a file, a run's folder or an experiment's.
        policy: instead: ``"module:function"``, called with the env; ``"zero"``; or ``"random"``.
        seed: of the random policy.

    Raises:
        ConfigError: there is no such thing.
        CheckpointError: the checkpoint can't be used.
    """
    if policy == ZERO:
        return zero_policy(env)
    if policy == RANDOM:
        return random_policy(env, seed)
    if policy is not None:
        from holdstep.cli.serve import maker

        return maker(policy, "--policy")(env)
    from holdstep.envs.views.rsl_rl import RslRlVecEnv
    from holdstep.policies.rsl_rl import RslRlPolicy
    from holdstep.policies.rsl_rl.checkpoint import find_checkpoint
    from holdstep.policies.rsl_rl.run_dir import RunDir
    from holdstep.policies.rsl_rl.trained_config import trained_config

    assert checkpoint is not None
    file = find_checkpoint(checkpoint, env_id=env_id)
    config = trained_config(RunDir.of_checkpoint(file), env_id=env_id, env=env)
    view = RslRlVecEnv(env, clip_actions=config.get("clip_actions"))
    return RslRlPolicy.load(file, view, env_id=env_id)


def zero_policy(env: TorchVectorEnv) -> Callable[[Obs], torch.Tensor]:
    """Does nothing, or the first of several things."""
    from holdstep.envs.masked_step import idle_actions

    actions = idle_actions(env.action_space, env.device)
    return lambda _: actions.clone()


def random_policy(env: TorchVectorEnv, seed: int) -> Callable[[Obs], torch.Tensor]:
    """Draws actions evenly from their space; between -1 and 1 where that has no bounds."""
    import gymnasium
    import numpy as np
    import torch

    from holdstep.envs.masked_step import idle_actions

    generator = torch.Generator(env.device).manual_seed(seed)
    like = idle_actions(env.action_space, env.device)
    space = env.action_space
    if isinstance(space, gymnasium.spaces.Box):
        low = torch.as_tensor(np.maximum(space.low, -1.0), device=env.device)
        high = torch.as_tensor(np.minimum(space.high, 1.0), device=env.device)
    else:
        single = env.single_action_space
        start = np.asarray(single.start)  # type: ignore[attr-defined]
        size = np.asarray(getattr(single, "nvec", getattr(single, "n", None)))
        low = torch.as_tensor(start, device=env.device).expand(like.shape)
        high = torch.as_tensor(start + size, device=env.device).expand(like.shape)

    def draw(_: Obs) -> torch.Tensor:
        share = torch.rand(like.shape, generator=generator, device=env.device)
        actions = low + share * (high - low)
        return (
            actions.to(like.dtype) if like.is_floating_point() else actions.floor().to(like.dtype)
        )

    return draw
