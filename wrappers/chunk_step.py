"""One step of chunks under way: how far each row is in its own, and what it has gained so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.errors import SuspensionError
from holdstep.wrappers.chunk_info import TickInfos
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, StepResult


class ChunkStep:
    """Adds up the ticks of one step of :class:`~holdstep.wrappers.ActionChunkReplay`.

    A row's position is the number of ticks in which it advanced. The host keeps the positions, from
    one read of the flags per tick.

    Args:
        chunks: actions to play, ``[N, K, ...]``.
        discounts: weights of the rewards, float32 ``[K]``; None for ones.

    Attributes:
        num_ticks: ticks so far.
        finished: rows that have played their chunk or ended their episode, bool ``[N]``.
        under_way: whether a row that advanced in the last tick has not finished.
    """

    def __init__(self, chunks: torch.Tensor, discounts: torch.Tensor | None) -> None:
        self._chunks = chunks
        self._ticks = chunks.unbind(1)
        self._discounts = discounts
        num_envs = len(chunks)
        self._position = np.zeros(num_envs, dtype=np.int64)
        self._index: torch.Tensor | None = None  # positions, on the device; None: all num_ticks
        self._uniform = True  # all rows advanced in all ticks so far, and none ended
        self._infos = TickInfos(num_envs)
        self._obs: Obs
        self._reward: torch.Tensor
        self._terminated: torch.Tensor
        self._truncated: torch.Tensor
        self.num_ticks = 0
        self.finished = np.zeros(num_envs, dtype=bool)
        self.under_way = True

    def next_actions(self) -> torch.Tensor:
        """Actions of the next tick, ``[N, ...]``; those of rows that have finished mean nothing."""
        if self._uniform or (self._position[~self.finished] == self.num_ticks).all():
            self._index = None
            return self._ticks[self.num_ticks]
        position = np.minimum(self._position, len(self._ticks) - 1)
        self._index = torch.from_numpy(position).to(self._chunks.device)
        rows = torch.arange(len(position), device=self._chunks.device)
        return self._chunks[rows, self._index]

    def add(self, result: StepResult) -> None:
        """Count what a tick gave.

        Args:
            result: of the env's step with :meth:`next_actions`.

        Raises:
            SuspensionError: a row advanced that had finished.
        """
        self._obs, reward, terminated, truncated, info = result
        flags = torch.stack((terminated | truncated, ~info["active"])).cpu().numpy()
        ended, still = flags
        num_ended, num_still = (int(np.count_nonzero(flag)) for flag in flags)
        if self.num_ticks == 0:
            self._reward, self._terminated, self._truncated = reward, terminated, truncated
        else:
            self._reward = self._reward + self._discounted(reward)
            if num_ended:
                self._terminated = self._terminated | terminated
                self._truncated = self._truncated | truncated
        self._infos.add(info, all_active=num_still == 0, num_ended=num_ended)
        self._uniform = self._uniform and num_ended == num_still == 0
        if self._uniform:
            self._position += 1
            self.under_way = self.num_ticks + 1 < len(self._ticks)
        else:
            self._advance(active=~still, ended=ended)
        self.num_ticks += 1

    @property
    def all_advanced(self) -> bool:
        """Whether every row has advanced in a tick."""
        return bool((self._position > 0).all())

    def result(self, *, count_ticks: bool = True) -> StepResult:
        """What the step returns; its tensors belong to the caller.

        Args:
            count_ticks: whether ``info["num_steps"]`` is the ticks of each row.
        """
        num_steps = torch.from_numpy(self._position).to(self._chunks.device)
        counts = {"active": num_steps > 0}
        if count_ticks:
            counts["num_steps"] = num_steps
        info = self._infos.result(self._obs) | counts
        if "final_info" in info:  # where TorchRL looks up all entries of rows that ended
            info["final_info"] = info["final_info"] | counts
        return self._obs, self._reward, self._terminated, self._truncated, info

    def _discounted(self, reward: torch.Tensor) -> torch.Tensor:
        """The rewards of a tick, weighted by where each row is.

        Multiplied first and added then: a fused operation would round otherwise for one weight than
        for a tensor of them, so that a row's return would depend on what other rows do.
        """
        if self._discounts is None:
            return reward
        return reward * self._discounts[self.num_ticks if self._index is None else self._index]

    def _advance(self, *, active: np.ndarray, ended: np.ndarray) -> None:
        moved = np.flatnonzero(active & self.finished)
        if moved.size:
            raise SuspensionError(
                f"Rows {shortened(moved.tolist())} advanced after their chunk or their episode had "
                "ended: something resumed them in between. A condition that rows wait for must not "
                "resume other rows."
            )
        self._position += active
        self.finished |= ended | (self._position == len(self._ticks))
        self.under_way = bool((active & ~self.finished).any())
