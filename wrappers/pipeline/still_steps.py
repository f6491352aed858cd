"""Steps in which no row advances, and the env is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, StepResult, TorchVectorEnv


class StillSteps:
    """Makes what such a step returns.

    Args:
        env: the stack inside.
    """

    def __init__(self, env: TorchVectorEnv) -> None:
        self._env = env
        self._obs: Obs | None = None

    def moved(self) -> None:
        """Rows have advanced, or were put elsewhere."""
        self._obs = None

    def obs(self) -> Obs:
        """What rows see now, as tensors of the caller's; nothing happens in the env.

        The env is asked, by a reset of no rows, since the caller may have written to what a step
        returned; once, since a recorder makes a note of each reset.
        """
        if self._obs is None:
            none = torch.empty(0, dtype=torch.int64, device=self._env.device)
            self._obs, _ = self._env.reset(options={"env_ids": none})
        return {name: value.clone() for name, value in self._obs.items()}

    def result(self, pipeline_info: dict[str, Any]) -> StepResult:
        """What the step returns."""
        num_envs, device = self._env.num_envs, self._env.device
        active, terminated, truncated = torch.zeros(3, num_envs, dtype=torch.bool, device=device)
        reward = torch.zeros(num_envs, device=device)
        info = {"active": active, "pipeline": pipeline_info}
        return self.obs(), reward, terminated, truncated, info
