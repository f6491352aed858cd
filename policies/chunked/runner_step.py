"""What a step of a runner returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from holdstep.envs.contract import Info, Obs


@dataclass(frozen=True, kw_only=True)
class RunnerStep:
    """What one step of a runner did.

    Attributes:
        obs: as the env's ``step`` returned it, in a dictionary of your own. The tensors are those
            that the policy's next request is cut from: clone what you edit in place.
        reward: as the env's ``step`` returned it.
        terminated: likewise.
        truncated: likewise.
        info: likewise; ``info["active"]`` are the rows that advanced.
        actions: what the rows that advanced did, float32 ``[N, A]``; of others, anything.
        active_mask: ``info["active"]`` on the host, bool ``[N]``.
        ended_ids: rows whose episode ended, int64 ``[k]`` on the host.
    """

    obs: Obs
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    info: Info
    actions: torch.Tensor
    active_mask: np.ndarray
    ended_ids: np.ndarray
