"""What each row does next: queued actions, or an average over overlapping chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.policies.chunked.action_queue import ActionQueue
from holdstep.policies.chunked.ages import ActionAges
from holdstep.policies.chunked.transfers import uploaded

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.policies.chunked.ensemble import TemporalEnsembling
    from holdstep.policies.chunked.handover import Splice
    from holdstep.policies.chunked.protocol import ChunkSpec


class ActionSource:
    """Takes chunks in, and gives each row one action after another.

    Args:
        env: whose rows they are.
        spec: of the policy that makes the chunks.
        capacity: the most actions that a row can have queued.
        ensemble: how to average chunks, if at all.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        spec: ChunkSpec,
        *,
        capacity: int,
        ensemble: TemporalEnsembling | None,
    ) -> None:
        self._device = env.device
        self._queue = ActionQueue(
            env.num_envs, capacity=capacity, action_dim=spec.action_dim, device=env.device
        )
        self._ages = ActionAges(env.num_envs, capacity=capacity)
        self._ensemble = None
        if ensemble is not None:
            self._ensemble = ensemble.build(
                num_envs=env.num_envs,
                chunk_length=spec.chunk_length,
                action_dim=spec.action_dim,
                execute=capacity,
                device=env.device,
            )

    def put(
        self,
        rows: np.ndarray,
        chunks: torch.Tensor,
        *,
        lengths: np.ndarray,
        splice: Splice,
        age: np.ndarray,
    ) -> None:
        """Rows have new chunks.

        Args:
            rows: int64 ``[k]``.
            chunks: ``[k, L, A]``.
            lengths: their valid actions, int64 ``[k]``.
            splice: which of their actions are executed.
            age: steps that the rows have made since they were observed, int64 ``[k]``.
        """
        if self._ensemble is None:
            self._queue.put(rows, chunks, splice)
        else:
            ids, counts = (uploaded(numbers, self._device) for numbers in (rows, lengths))
            self._ensemble.put(ids, chunks, counts, torch.zeros_like(counts))
        self._ages.put(rows, splice, age)

    def current(self, active_mask: np.ndarray) -> torch.Tensor:
        """The next actions of the active rows, float32 ``[N, A]``; anything for the others.

        The same until they have made their step (:meth:`advance`).
        """
        if self._ensemble is None:
            return self._queue.current()
        return self._ensemble.current(uploaded(active_mask, self._device))

    def upcoming(self, rows: np.ndarray, length: int) -> torch.Tensor:
        """The next queued actions of rows, float32 ``[k, length, A]``."""
        return self._queue.upcoming(rows, length)

    def clear(self) -> None:
        """All rows begin anew, with nothing queued."""
        self._ages.clear()

    def ages(self) -> np.ndarray:
        """Age of the observation behind each row's next action [env steps], int64 ``[N]``."""
        return self._ages.current()

    def executed_ages(self) -> tuple[int, int]:
        """The sum of those of all actions that were executed, and the highest [env steps]."""
        return self._ages.executed()

    def advance(self, active_mask: np.ndarray) -> None:
        """The active rows have made their step."""
        self._ages.advance(active_mask)
        if self._ensemble is None:
            self._queue.advance(active_mask)
        else:
            self._ensemble.advance(uploaded(active_mask, self._device))

    def forget(self, rows: np.ndarray) -> None:
        """Rows, int64 ``[k]``, begin new episodes."""
        # The queue's rest needs no clearing: the ledger knows that it no longer counts.
        if self._ensemble is not None and len(rows):
            self._ensemble.forget(uploaded(rows, self._device))
