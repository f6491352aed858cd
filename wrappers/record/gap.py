"""Counts what is not recorded while there is no room for it."""

from __future__ import annotations

import torch


class Gap:
    """Which episodes lose steps, and how many end, counted on the device without a wait for it.

    Args:
        num_envs: rows.
        device: of the env.

    Attributes:
        is_open: whether a step was lost that nobody was told of.
        stepped: rows that took a step in the episode that they are in, bool ``[N]``.
        num_ended: episodes of each row that ended, int32 ``[N]``.
    """

    def __init__(self, num_envs: int, device: torch.device) -> None:
        with torch.inference_mode(False):
            self.stepped = torch.zeros(num_envs, dtype=torch.bool, device=device)
            self.num_ended = torch.zeros(num_envs, dtype=torch.int32, device=device)
        self.is_open = False

    def add(self, active: torch.Tensor, ended: torch.Tensor) -> None:
        """A step of some rows is lost."""
        self.is_open = True
        self.num_ended += ended
        self.stepped |= active
        self.stepped &= ~ended

    def clear(self) -> None:
        """It was told."""
        self.is_open = False
        self.num_ended.zero_()
        self.stepped.zero_()
