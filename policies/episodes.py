"""Run a policy until every row has finished one episode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, TorchVectorEnv


@dataclass(frozen=True, kw_only=True)
class FirstEpisodes:
    """The first episode of each row.

    Counting the first episode of each row, and not the first N that end, keeps short episodes from
    being counted more often than long ones.

    Attributes:
        returns: summed rewards, float32 ``[N]``; of rows that did not end, so far.
        lengths: env steps, int64 ``[N]``.
        ended_mask: bool ``[N]``, rows whose episode ended within the step limit.
    """

    returns: torch.Tensor
    lengths: torch.Tensor
    ended_mask: torch.Tensor


def play_first_episodes(
    env: TorchVectorEnv,
    policy: Callable[[Obs], torch.Tensor],
    *,
    max_steps: int,
    seed: int | None = None,
    on_step: Callable[[int, int], Any] | None = None,
) -> FirstEpisodes:
    """Reset an env and step it with a policy until every row has ended once.

    Args:
        env: the env.
        policy: actions ``[N, A]`` from observations by group; its ``reset(done_mask)``, where it
            has one, is called for the rows whose episode ended.
        max_steps: give up on rows that have not ended by then.
        seed: of the reset.
        on_step: called after each step with the number of steps and of rows that have ended.
    """
    obs, _ = env.reset(seed=seed)
    forget = getattr(policy, "reset", None)
    if forget is not None:
        forget(None)
    returns = torch.zeros(env.num_envs, device=env.device)
    lengths = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    running = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    for step in range(1, max_steps + 1):
        obs, reward, terminated, truncated, info = env.step(policy(obs))
        done = terminated | truncated
        returns += reward * running
        lengths += running & info["active"]
        running &= ~done
        if forget is not None:
            forget(done)
        num_running = int(running.sum())
        if on_step is not None:
            on_step(step, env.num_envs - num_running)
        if num_running == 0:
            break
    return FirstEpisodes(returns=returns, lengths=lengths, ended_mask=~running)
