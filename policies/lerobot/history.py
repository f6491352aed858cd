"""The last observations of every row, for policies that look at more than the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs


class ObsHistory:
    """The newest ``num_frames`` observations of each row's episode.

    At the start of an episode, the frames before its first observation are that first one again,
    as lerobot has it. Rows are independent: each has its own number of frames. :meth:`record`
    never waits for a GPU.

    Args:
        num_envs: number of rows, N.
        num_frames: frames, T.
    """

    def __init__(self, num_envs: int, num_frames: int) -> None:
        self._num_envs = num_envs
        self._num_frames = num_frames
        # Made when the first observation shows shapes and device.
        self._frames: Obs = {}
        self._rows = torch.arange(num_envs)
        self._counts = torch.zeros(num_envs, dtype=torch.int64)

    def reset(self, env_ids: torch.Tensor) -> None:
        """New episodes begin for rows, int64 ``[k]``."""
        self._counts[env_ids.to(self._counts.device)] = 0

    def record(self, obs: Obs, mask: torch.Tensor) -> None:
        """A tick has gone by for the rows of ``mask``, bool ``[N]``; ``obs`` is of all N rows."""
        self._make(obs)
        slots = self._counts % self._num_frames
        for key, value in obs.items():
            frames = self._frames[key]
            kept = mask.reshape(-1, *[1] * (value.ndim - 1))
            frames[self._rows, slots] = torch.where(kept, value, frames[self._rows, slots])
        self._counts.add_(mask)

    def append(self, obs: Obs, env_ids: torch.Tensor) -> None:
        """Another tick of rows, int64 ``[k]``, with ``obs`` of these rows only."""
        self._make(obs)
        ids = env_ids.to(self._counts.device)
        slots = self._counts[ids] % self._num_frames
        for key, value in obs.items():
            self._frames[key][ids, slots] = value
        self._counts[ids] += 1

    def empty_mask(self, env_ids: torch.Tensor) -> torch.Tensor:
        """Which of these rows have seen nothing in their episode, bool ``[k]``."""
        return self._counts[env_ids.to(self._counts.device)] == 0

    def frames(self, env_ids: torch.Tensor) -> Obs:
        """What rows saw, each ``[k, T, ...]``, the newest last; new tensors.

        None of them may be empty.
        """
        ids = env_ids.to(self._counts.device)
        counts = self._counts[ids].unsqueeze(1)
        ages = torch.arange(self._num_frames - 1, -1, -1, device=ids.device)
        slots = (counts - 1 - torch.minimum(ages, counts - 1)) % self._num_frames
        return {key: value[ids.unsqueeze(1), slots] for key, value in self._frames.items()}

    def _make(self, obs: Obs) -> None:
        if self._frames:
            return
        # Tensors made in inference mode could not be written to outside it.
        with torch.inference_mode(False):
            for key, value in obs.items():
                shape = (self._num_envs, self._num_frames, *value.shape[1:])
                self._frames[key] = torch.zeros(shape, dtype=value.dtype, device=value.device)
            device = next(iter(obs.values())).device
            self._rows = self._rows.to(device)
            self._counts = self._counts.to(device)
