"""What computes targets from inputs: a model file and its memories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch


class PolicyRunner(Protocol):
    """Runs the graphs of a contract and keeps their memories, one row per env.

    ``holdstep.wrappers.export.model_runner.load`` makes one from the files of an export.
    """

    def step(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Run the policy graph once, and keep the memories' updates.

        Args:
            inputs: ``[num_envs, *shape]`` by connection, all of :attr:`Contract.inputs`.

        Returns:
            All of :attr:`Contract.outputs` by connection.
        """
        ...

    def apply(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Run the apply graph once; only called if the contract has one.

        Args:
            inputs: those of :attr:`Contract.apply_inputs` that a host is read for; the others are
                what the last :meth:`step` computed or kept.

        Returns:
            All of :attr:`Contract.apply_outputs` by connection.
        """
        ...

    def reset(self, env_ids: torch.Tensor | None = None) -> None:
        """Put the memories of rows back to what they are before the first step."""
        ...
