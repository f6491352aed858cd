"""What the test modules share: ids, marks, actions and rollouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

MANAGER_BASED_ID = "Isaac-Standin-Cartpole-v0"
DIRECT_ID = "Isaac-Standin-Cartpole-Direct-v0"
STATEFUL_DIRECT_ID = "Isaac-Standin-Cartpole-Stateful-Direct-v0"
BOTH = pytest.mark.parametrize("env_id", [MANAGER_BASED_ID, DIRECT_ID])

# Isaac Lab scripts its math helpers while it is imported.
ignore_jit_warning = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
# The destructor of an env whose constructor failed closes what was never built.
ignore_failed_destructor = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


def actions(num_envs: int, seed: int, scale: float = 0.3) -> torch.Tensor:
    """Return random actions without touching the global generator that Isaac Lab draws from."""
    return scale * torch.randn(num_envs, 1, generator=torch.Generator().manual_seed(seed))


def rollout(env: Any, num_steps: int, scale: float = 0.3) -> list[tuple[torch.Tensor, ...]]:
    """Step ``env`` and return clones of (policy obs, reward, terminated, truncated) per step."""
    steps = []
    for index in range(num_steps):
        obs, reward, terminated, truncated, _ = env.step(actions(env.num_envs, index, scale))
        steps.append(tuple(x.clone() for x in (obs["policy"], reward, terminated, truncated)))
    return steps
