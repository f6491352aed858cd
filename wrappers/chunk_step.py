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

    A row's position is the number of ticks in which it advanced. As long as all rows advance and
    none ends, that is the number of ticks, which takes one look at the flags per tick to know. From
    the first tick on in which it is otherwise, the host reads the flags and keeps the positions.

    Args:
        chunks: actions to play, ``[N, K, ...]``.
        discounts: weights of the rewards, float32 ``[K]``; None for ones.
        lengths: K in each row, int64 ``[N]``; what is copied is not made anew in every step.

    Attributes:
        num_ticks: ticks so far.
        finished: rows that have played their chunk or ended their episode, bool ``[N]``; not set
            while :attr:`is_uniform`.
        under_way: whether a row that advanced in the last tick has not finished.
    """

    def __init__(
        self,
        chunks: torch.Tensor,
        discounts: torch.Tensor | None,
        lengths: torch.Tensor,
    ) -> None:
        self._chunks = chunks
        self._length = chunks.shape[1]
        self._discounts = discounts
        self._lengths = lengths
        self._position: np.ndarray | None = None  # None: num_ticks, of all rows, and none ended
        self._index: torch.Tensor | None = None  # positions, on the device; None: all num_ticks
        self._infos = TickInfos(chunks.shape[0])
        self._obs: Obs
        self._reward: torch.Tensor
        self._terminated: torch.Tensor
        self._truncated: torch.Tensor
        self._active: torch.Tensor  # in the last tick
        self.num_ticks = 0
        self.finished: np.ndarray  # made with the positions
        self.under_way = True

    def next_actions(self) -> torch.Tensor:
        """Actions of the next tick, ``[N, ...]``; those of rows that have finished mean nothing."""
        if self._position is None or (self._position[~self.finished] == self.num_ticks).all():
            self._index = None
            return self._chunks[:, self.num_ticks]
        position = np.minimum(self._position, self._length - 1)
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
        self._active = info["active"]
        ended, still = terminated | truncated, ~self._active
        # No row is in both, so they are equal only if no row is in any. On a CPU, that costs half
        # as much as to read them.
        if self._position is None and torch.equal(ended, still):
            num_ended, all_active = 0, True
            self.under_way = self.num_ticks + 1 < self._length
        else:
            flags = torch.stack((ended, still)).cpu().numpy()
            num_ended, num_still = (int(np.count_nonzero(flag)) for flag in flags)
            all_active = num_still == 0
            self._advance(ended=flags[0], active=~flags[1])
        if self.num_ticks == 0:
            self._reward, self._terminated, self._truncated = reward, terminated, truncated
        else:
            self._reward = self._reward + self._discounted(reward)
            if num_ended:
                self._terminated = self._terminated | terminated
                self._truncated = self._truncated | truncated
        self._infos.add(info, all_active=all_active, num_ended=num_ended)
        self.num_ticks += 1

    @property
    def is_uniform(self) -> bool:
        """Whether every row has advanced in every tick, and none has ended."""
        return self._position is None

    @property
    def all_advanced(self) -> bool:
        """Whether every row has advanced in a tick."""
        if self._position is None:
            return self.num_ticks > 0
        return bool((self._position > 0).all())

    def result(self, *, count_ticks: bool = True) -> StepResult:
        """What the step returns, when nothing is under way; its tensors belong to the caller.

        Args:
            count_ticks: whether ``info["num_steps"]`` is the ticks of each row.
        """
        if self._position is None:
            active, num_steps = self._active, self._lengths.clone()
        else:
            num_steps = torch.from_numpy(self._position).to(self._chunks.device)
            active = num_steps > 0
        counts = {"active": active}
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

    def _advance(self, *, ended: np.ndarray, active: np.ndarray) -> None:
        if self._position is None:
            self._position = np.full(len(active), self.num_ticks, dtype=np.int64)
            self.finished = np.zeros(len(active), dtype=bool)
        moved = np.flatnonzero(active & self.finished)
        if moved.size:
            raise SuspensionError(
                f"Rows {shortened(moved.tolist())} advanced after their chunk or their episode had "
                "ended: something resumed them in between. A condition that rows wait for must not "
                "resume other rows."
            )
        self._position += active
        self.finished |= ended | (self._position == self._length)
        self.under_way = bool((active & ~self.finished).any())
