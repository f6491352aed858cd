"""An exported policy, run where it came from: beside the managers that it does without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from holdstep.errors import ConfigError
from holdstep.wrappers.export.contract_file import read_contract
from holdstep.wrappers.export.live_inputs import LiveInputs
from holdstep.wrappers.export.model_runner import load

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, TorchVectorEnv


class ExportedPolicy:
    """A policy for the env that it was exported from: evaluate and watch what will be deployed.

    It looks at the env itself, never at the observations that it is called with: what it needs of
    them is computed inside the model, from the same quantities that a robot will give it. On a host
    without managers, use :class:`~holdstep.envs.DeploymentEnv`.

    Args:
        out_dir: the export's folder.
        env: a manager-based env with the same task, wrapped or not.
        num_threads: that an ONNX model may use.
        allow_jit: load TorchScript files, whose authors can write files here.

    Attributes:
        contract: of the export.

    Raises:
        ContractError: the contract is malformed, or the env does not have what it reads.
        ModelFileError: the model can't be loaded.
        ConfigError: it has no action to return.
    """

    def __init__(
        self,
        out_dir: str | Path,
        env: TorchVectorEnv,
        *,
        num_threads: int = 1,
        allow_jit: bool = False,
    ) -> None:
        self.contract = read_contract(out_dir)
        if not any(spec.connection == "action" for spec in self.contract.outputs):
            raise ConfigError(
                f"{out_dir} computes targets only, no action that an env could be stepped with. "
                "Run it on a host: holdstep.envs.DeploymentEnv."
            )
        self._inputs = LiveInputs(env, self.contract.inputs)
        self._runner = load(
            out_dir,
            self.contract,
            env.num_envs,
            env.device,
            num_threads=num_threads,
            allow_jit=allow_jit,
        )

    def __call__(self, obs: Obs | None = None) -> torch.Tensor:
        """Actions, float32 ``[N, A]``, for the env as it is now; ``obs`` is not looked at."""
        return self._runner.step(self._inputs.read(copy=False))["action"]

    def reset(self, done_mask: torch.Tensor | None = None) -> None:
        """Forget what rows remember whose episode ended (bool ``[N]``; None for all)."""
        self._runner.reset(done_mask)
