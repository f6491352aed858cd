"""Counting the env steps that rows took, where rsl_rl counts steps of the batch."""

from __future__ import annotations

from typing import Any

import torch


class ActiveSteps:
    """Corrects a runner's episode lengths, and counts its env steps.

    rsl_rl's logger adds 1 to the length of each row's episode in each step. A row that stood still
    took none, and a chunk of actions takes several.

    Args:
        logger: a runner's; a function of this object's, which calls its own, takes the place of
            its ``process_env_step``. The library's class stays as it is.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._process_env_step = logger.process_env_step
        self._total = torch.zeros((), dtype=torch.int64, device=logger.device)
        logger.process_env_step = self._process

    def take(self) -> int:
        """Env steps of all rows since this was last asked; waits for a GPU."""
        total = int(self._total)
        self._total.zero_()
        return total

    def _process(
        self, rewards: torch.Tensor, dones: torch.Tensor, extras: dict[str, Any], *args: Any
    ) -> None:
        steps = extras.get("num_steps", extras.get("active"))
        if steps is None:
            self._total += len(rewards)
        else:
            steps = steps.to(self._logger.device)
            self._total += steps.sum()
            if self._logger.writer is not None:  # else it counts nothing
                self._logger.cur_episode_length += steps.float() - 1
        self._process_env_step(rewards, dones, extras, *args)
