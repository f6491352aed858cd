"""Temporal ensembling: what is executed is the average of all that was predicted for a tick."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from holdstep.envs.device import canonical_device
from holdstep.envs.env_ids import EnvIds, canonical_env_ids
from holdstep.errors import ConfigError
from holdstep.policies.chunked.transfers import moved


@dataclass(frozen=True, kw_only=True)
class TemporalEnsembling:
    """That overlapping chunks are averaged, and how.

    Attributes:
        decay: m of the weights ``exp(-m * i)``, in which i counts the predictions for a tick from
            the oldest, 0. ACT's is 0.01. With 0 all weigh the same; with less, newer ones more.
    """

    decay: float = 0.01

    def __post_init__(self) -> None:
        if not isinstance(self.decay, int | float) or not math.isfinite(self.decay):
            raise ConfigError(
                f"TemporalEnsembling.decay must be a finite number, got {self.decay!r}."
            )

    def build(
        self,
        num_envs: int,
        *,
        chunk_length: int,
        action_dim: int,
        execute: int,
        device: str | torch.device,
    ) -> TemporalEnsemble:
        """An ensemble for rows that get a new chunk every ``execute`` ticks.

        Args:
            num_envs: number of rows, N.
            chunk_length: actions in a chunk, L.
            action_dim: width of an action, A.
            execute: ticks from one chunk of a row to its next, 1 to L; with L, no two overlap.
            device: where actions are averaged.

        Raises:
            ConfigError: an argument can't be used.
        """
        if isinstance(execute, bool) or not isinstance(execute, int) or execute < 1:
            raise ConfigError(f"execute must be an integer >= 1, got {execute!r}.")
        return TemporalEnsemble(
            num_envs,
            chunk_length,
            action_dim,
            decay=self.decay,
            # No more chunks speak of a tick, also where valid lengths end some of them before
            # `execute` ticks have gone by: those are used up when the next one comes.
            max_chunks=max(1, math.ceil(chunk_length / execute)),
            device=device,
        )


class TemporalEnsemble:
    """The chunks of every row that still have something to say, and their weighted average.

    As in ACT (Zhao et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware",
    arXiv 2304.13705): the action of a tick is the average of all predictions for that tick, the
    i-th of them, counted from the oldest, weighted by ``exp(-decay * i)``. Three things differ:

    - Whether there is a prediction is a matter of lengths, not of its value: an action of zeros
      is an action.
    - Every row has its own ticks and episodes: a row that doesn't act keeps its place, and one
      that is reset forgets its chunks, whatever the others do.
    - Rows need not get a chunk in every tick.

    All memory is allocated at once, ``4 * N * K * L * A`` bytes and a little. Only :meth:`add` and
    :meth:`reset`, which check what they are given, wait for a GPU.

    Attributes:
        num_envs: number of rows, N.
        max_chunks: the most predictions for a tick that are averaged, K.

    Args:
        num_envs: number of rows.
        chunk_length: actions in a chunk, L.
        action_dim: width of an action, A.
        decay: see :class:`TemporalEnsembling`.
        max_chunks: chunks that are kept for a row; a further one replaces one whose predictions are
            used up, or else the oldest. None for ``chunk_length``, which loses none if rows get at
            most one chunk per tick.
        device: where they are.

    >>> ensemble = TemporalEnsemble(1, 2, 1, decay=0.0, device="cpu")
    >>> ensemble.add([0], torch.tensor([[[1.0], [2.0]]]))
    >>> ensemble.next_actions()
    tensor([[1.]])
    >>> ensemble.add([0], torch.tensor([[[0.0], [5.0]]]))
    >>> ensemble.next_actions()  # of 2, which is the older chunk's, and 0
    tensor([[1.]])
    """

    def __init__(
        self,
        num_envs: int,
        chunk_length: int,
        action_dim: int,
        *,
        decay: float = 0.01,
        max_chunks: int | None = None,
        device: str | torch.device,
    ) -> None:
        max_chunks = chunk_length if max_chunks is None else max_chunks
        _check_sizes(
            num_envs=num_envs,
            chunk_length=chunk_length,
            action_dim=action_dim,
            max_chunks=max_chunks,
        )
        self._decay = TemporalEnsembling(decay=decay).decay
        self._shape = (chunk_length, action_dim)
        self.num_envs = num_envs
        self.max_chunks = max_chunks
        self.device = canonical_device(device)
        slots = (num_envs, max_chunks)
        # A tensor made in inference mode could not be written to outside it.
        with torch.inference_mode(False):
            self._chunks = torch.zeros(*slots, *self._shape, device=self.device)
            # How many actions of each chunk count, and which of them is the one for this tick.
            self._lengths = torch.zeros(slots, dtype=torch.int64, device=self.device)
            self._positions = torch.zeros_like(self._lengths)
            self._rows = torch.arange(num_envs, device=self.device)
            self._slots = torch.arange(max_chunks, device=self.device)
            # The slots of each row from its oldest chunk to its newest.
            self._by_age = self._slots.repeat(num_envs, 1)

    @property
    def available_mask(self) -> torch.Tensor:
        """Rows that have a prediction for this tick, bool ``[N]``."""
        return self._valid().any(dim=1)

    def add(
        self,
        env_ids: EnvIds,
        actions: torch.Tensor,
        valid_lengths: torch.Tensor | None = None,
        start_offset: int | torch.Tensor = 0,
    ) -> None:
        """Take in new chunks, whose predictions count from this tick on.

        Args:
            env_ids: the rows that they are for, int64 ``[k]``.
            actions: ``[k, L, A]``.
            valid_lengths: how many actions of each chunk count, int64 ``[k]``; None for all.
            start_offset: which action of a chunk is for the rows' next tick: the ticks that have
                gone by since the observation that it was inferred from. One for all rows, or int64
                ``[k]``.

        Raises:
            ConfigError: a shape does not fit.
            InvalidEnvIdsError: ids that can't be meant.
        """
        ids = canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)
        if tuple(actions.shape) != (len(ids), *self._shape):
            raise ConfigError(
                f"actions must be of shape {(len(ids), *self._shape)} for {len(ids)} rows, got "
                f"{tuple(actions.shape)}."
            )
        length = self._shape[0]
        lengths = length if valid_lengths is None else valid_lengths
        self.put(
            ids,
            actions,
            _per_row(lengths, ids, high=length, name="valid_lengths"),
            _per_row(start_offset, ids, high=length, name="start_offset"),
        )

    def put(
        self,
        ids: torch.Tensor,
        actions: torch.Tensor,
        lengths: torch.Tensor,
        positions: torch.Tensor,
    ) -> None:
        """:meth:`add` of what has been checked; never waits for a GPU.

        Args:
            ids: rows, int64 ``[k]`` on the ensemble's device.
            actions: ``[k, L, A]``.
            lengths: how many of each chunk's actions count, int64 ``[k]`` likewise.
            positions: which of them is for the row's next tick, int64 ``[k]`` likewise.
        """
        actions = moved(actions, self.device, torch.float32)
        by_age = self._by_age[ids]
        used_up = ~self._valid()[ids].gather(1, by_age)
        # The oldest of those that are used up; of none, argmax is 0, the oldest of all.
        place = used_up.to(torch.uint8).argmax(dim=1, keepdim=True)
        slot = by_age.gather(1, place).squeeze(1)
        self._chunks[ids, slot] = actions
        self._lengths[ids, slot] = lengths
        self._positions[ids, slot] = positions
        # All behind it move up by one, and it is the newest.
        moved_up = self._slots + (self._slots >= place)
        moved_up[:, -1:] = place
        self._by_age[ids] = by_age.gather(1, moved_up)

    def next_actions(self, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The actions of this tick, after which the rows of ``mask`` are in their next one.

        :meth:`current` and :meth:`advance` in one, for loops whose steps don't fail in between.
        """
        actions = self.current(mask)
        self.advance(mask)
        return actions

    def current(self, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The actions of this tick.

        Args:
            mask: rows that act, bool ``[N]`` on the ensemble's device; all by default.

        Returns:
            float32 ``[N, A]``, a new tensor: zeros for rows outside the mask, whose actions are
            not to be executed, and NaN for rows in it for which nothing was predicted, which
            must not be. A row with one prediction gets that one, bit for bit.
        """
        by_age = self._by_age
        valid = self._valid().gather(1, by_age)
        ranks = valid.cumsum(dim=1) - 1
        logits = torch.where(valid, -self._decay * ranks, -torch.inf)
        # Of no prediction at all, softmax makes NaN. It also bears weights out of a float's range.
        weights = logits.softmax(dim=1).unsqueeze(-1)
        positions = self._positions.gather(1, by_age).clamp(max=self._shape[0] - 1)
        predicted = self._chunks[self._rows.unsqueeze(1), by_age, positions]
        # What lies behind a chunk's valid length may be anything, NaN included.
        predicted = torch.where(valid.unsqueeze(-1), predicted, 0.0)
        actions = (weights * predicted).sum(dim=1)
        return actions if mask is None else torch.where(mask.unsqueeze(1), actions, 0.0)

    def advance(self, mask: torch.Tensor | None = None) -> None:
        """Rows have acted, and are in their next tick: those of ``mask``, or all."""
        self._positions.add_(1 if mask is None else mask.unsqueeze(1))

    def reset(self, env_ids: EnvIds | None = None) -> None:
        """Forget the chunks of rows, for which new episodes begin; of all by default.

        Raises:
            InvalidEnvIdsError: ids that can't be meant.
        """
        if env_ids is None:
            self._lengths.zero_()
            return
        self.forget(canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device))

    def forget(self, ids: torch.Tensor) -> None:
        """:meth:`reset` of rows that have been checked, int64 ``[k]``; never waits for a GPU."""
        self._lengths.index_fill_(0, ids, 0)

    def _valid(self) -> torch.Tensor:
        """Chunks that have an action for this tick, bool ``[N, K]``."""
        return self._positions < self._lengths


def _per_row(value: int | torch.Tensor, ids: torch.Tensor, *, high: int, name: str) -> torch.Tensor:
    """Counts of each row's actions, int64 ``[k]``."""
    counts = torch.as_tensor(value)
    if (
        counts.shape not in ((), ids.shape)
        or counts.is_floating_point()
        or counts.dtype == torch.bool
        or (counts.numel() and not bool(((counts >= 0) & (counts <= high)).all()))
    ):
        raise ConfigError(
            f"{name} must hold an integer from 0 to {high} for each of {len(ids)} rows, got "
            f"{value!r}."
        )
    return counts.to(device=ids.device, dtype=torch.int64)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"{name} must be an integer >= 1, got {size!r}.")
