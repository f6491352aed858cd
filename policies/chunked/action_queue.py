"""The actions that each row is going to execute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.policies.chunked.transfers import moved, uploaded

if TYPE_CHECKING:
    from holdstep.policies.chunked.handover import Splice


class ActionQueue:
    """The rest of every row's chunk, on the env's device, and where each row is in it.

    How many of a row's actions count is the ledger's to know; what lies behind them is left over.

    Args:
        num_envs: number of rows.
        capacity: the most actions that a row can have, Q.
        action_dim: width of an action, A.
        device: where they are.
    """

    def __init__(
        self, num_envs: int, *, capacity: int, action_dim: int, device: torch.device
    ) -> None:
        with torch.inference_mode(False):  # written to in any mode
            # One more than that: where a row stands that has used up all of its actions.
            self._actions = torch.zeros(num_envs, capacity + 1, action_dim, device=device)
            self._slots = torch.arange(capacity + 1, device=device)
        self._all_actions = self._actions.view(-1, action_dim)
        self._on_host = self._all_actions.numpy() if device.type == "cpu" else None
        self._begins = np.arange(num_envs) * (capacity + 1)
        self._heads = self._begins.copy()

    @property
    def capacity(self) -> int:
        """The most actions that a row can have."""
        return self._actions.shape[1] - 1

    def put(self, rows: np.ndarray, chunks: torch.Tensor, splice: Splice) -> None:
        """Rows continue with some of their old actions, then with some of their new ones.

        Args:
            rows: int64 ``[k]``.
            chunks: ``[k, L, A]``, on any device.
            splice: which of them.
        """
        device = self._actions.device
        ids = uploaded(rows, device)
        chunks = moved(chunks, device, self._actions.dtype)
        if splice.keep.any() or splice.start.any():
            table = np.stack([splice.keep, splice.start, self._positions(rows)])
            keep, start, position = uploaded(table, device)[..., None].unbind()
            old = _at(self._actions[ids], self._slots + position)
            new = _at(chunks, self._slots - keep + start)
            self._actions[ids] = torch.where((self._slots < keep)[..., None], old, new)
        else:
            length = min(self.capacity, chunks.shape[1])
            self._actions[ids, :length] = chunks[:, :length]
        self._heads[rows] = self._begins[rows]

    def current(self) -> torch.Tensor:
        """The next action of each row, float32 ``[N, A]``, a new tensor; anything where none is."""
        if self._on_host is not None:  # every step asks, and torch would take several times as long
            return torch.from_numpy(self._on_host.take(self._heads, axis=0))
        heads = uploaded(self._heads, self._actions.device)
        return self._all_actions.index_select(0, heads)

    def upcoming(self, rows: np.ndarray, length: int) -> torch.Tensor:
        """The next ``length`` actions of rows, float32 ``[k, length, A]``, a new tensor."""
        device = self._actions.device
        ids = uploaded(rows, device)
        positions = uploaded(self._positions(rows), device)[:, None]
        return _at(self._actions[ids], self._slots[:length] + positions)

    def advance(self, active_mask: np.ndarray) -> None:
        """The rows of ``active_mask``, bool ``[N]``, have executed their next action."""
        self._heads += active_mask

    def _positions(self, rows: np.ndarray) -> np.ndarray:
        positions: np.ndarray = self._heads[rows] - self._begins[rows]
        return positions


def _at(chunks: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``chunks[i, index[i, j]]`` for all i and j, of shape ``[k, j, A]``; clamped."""
    index = index.clamp(0, chunks.shape[1] - 1).expand(chunks.shape[0], -1)
    return chunks.gather(1, index[..., None].expand(-1, -1, chunks.shape[2]))
