"""The observations that an adapter returned last, in memory of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from holdstep.envs.observations import merge_rows

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs


class LastObs:
    """Keeps copies of the last observations, for resets of some rows.

    Such a reset returns the other rows' observations as they last were. What was returned itself
    belongs to the caller, who may edit it (TorchRL does). The copies are written into the same
    memory at each step, in one launch on a GPU.
    """

    def __init__(self) -> None:
        self._obs: Obs | None = None

    def __bool__(self) -> bool:
        """Whether there are any: False before the first reset, and after :meth:`clear`."""
        return self._obs is not None

    @property
    def buffers(self) -> Obs:
        """The kept tensors themselves by group, for those who put rows back; may be empty."""
        return self._obs or {}

    def keep(self, obs: Obs) -> Obs:
        """Copy observations, tensors ``[N, ...]`` by group, and return them themselves."""
        if self._obs is None:
            with torch.inference_mode(False):
                self._obs = {name: torch.empty_like(tensor) for name, tensor in obs.items()}
        torch._foreach_copy_(list(self._obs.values()), [obs[name] for name in self._obs])
        return obs

    def copy(self) -> Obs:
        """Copies of what is kept, which belong to the caller."""
        assert self._obs is not None
        return {name: tensor.clone() for name, tensor in self._obs.items()}

    def merged(self, mask: torch.Tensor, new: Obs) -> Obs:
        """Rows of ``new`` where ``mask`` (bool ``[N]``) is set, kept ones elsewhere; kept too."""
        assert self._obs is not None
        return self.keep(merge_rows(mask, new, self._obs))

    def clear(self) -> None:
        """Forget everything."""
        self._obs = None
