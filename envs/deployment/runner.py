"""What computes targets from inputs: a model file and its memories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from holdstep.wrappers.export.contract_file import contract_path

if TYPE_CHECKING:
    from holdstep.envs.deployment.host import Host
    from holdstep.wrappers.export.contract import Contract


class PolicyRunner(Protocol):
    """Runs the graphs of a contract and keeps their memories, one row per env.

    ``holdstep.wrappers.export.model_runner.load`` makes one from the files of an export.
    """

    def step(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Run the policy graph once, and keep the memories' updates.

        Args:
            inputs: ``[num_envs, *shape]`` by connection, all of :attr:`Contract.inputs`. They
                are the runner's own.

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


def load_runner(
    out_dir: str | Path, contract: Contract, host: Host, *, num_threads: int, allow_jit: bool
) -> PolicyRunner:
    """What runs an export's own files, for the rows of a host.

    Args:
        out_dir: the folder of the export (or its ``contract.yaml``).
        contract: what it says.
        host: what it runs on.
        num_threads: that an ONNX model may use.
        allow_jit: load TorchScript files.

    Raises:
        ModelFileError: a model can't be loaded, or can't run for so many rows.
    """
    from holdstep.wrappers.export import model_runner

    return model_runner.load(
        contract_path(out_dir).parent,
        contract,
        host.num_envs,
        host.device,
        num_threads=num_threads,
        allow_jit=allow_jit,
    )
