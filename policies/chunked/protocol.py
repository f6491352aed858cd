"""What a policy that returns action chunks is: its spec, what it is asked, what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from holdstep.envs.contract import Obs
from holdstep.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ChunkSpec:
    """What a chunked policy needs and returns.

    Attributes:
        chunk_length: actions per inference, L.
        action_dim: width of one action, A.
        obs_keys: observation groups that it reads; None for all of them. What is not read need not
            be rendered.
        max_batch: the most rows that one inference takes; larger requests are split. None for any.
        uses_instructions: whether it reads ``ChunkRequest.instructions``.
        uses_prefix: whether it continues the actions that are still to be executed while it infers
            (real-time chunking, arXiv 2506.07339), which it then gets as ``ChunkRequest.prefix``.
        uses_history: whether it looks at several observations of a row, and is therefore to be told
            of every step (see :class:`ObservingPolicy`).
        reproducible: whether its actions are a function of a row's observation and seed alone: not
            of the other rows of a batch, the batch's size, or what was asked before.
    """

    chunk_length: int
    action_dim: int
    obs_keys: tuple[str, ...] | None = None
    max_batch: int | None = None
    uses_instructions: bool = False
    uses_prefix: bool = False
    uses_history: bool = False
    reproducible: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.obs_keys, str):
            raise ConfigError(
                f"ChunkSpec.obs_keys must be a tuple of groups, or None: ({self.obs_keys!r},)."
            )
        for name in ("chunk_length", "action_dim", "max_batch"):
            value = getattr(self, name)
            if name == "max_batch" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"ChunkSpec.{name} must be an integer >= 1, got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class ChunkRequest:
    """Rows for which a policy is to infer a chunk each; B of them.

    The tensors belong to the policy: nothing writes to them while it infers.

    Attributes:
        obs: observations of these rows by group, each ``[B, ...]`` on the env's device.
        env_ids: which rows of the env they are, int64 ``[B]`` on the CPU.
        episode_ids: which episode of its row each one is in, int64 ``[B]`` on the CPU.
        chunk_ids: which chunk of its episode is asked for, int64 ``[B]`` on the CPU.
        seeds: for the policy's noise, int64 ``[B]`` on the CPU, non-negative: a hash of the run's
            seed, the row, the episode and the chunk, whoever else is in the batch.
        instructions: what each row is to do, in words; empty where there are none.
        prefix: actions that will be executed before the new chunk takes over, float32 ``[B, P, A]``
            (in the first ``prefix_lengths`` entries of a row, zeros behind them), or None.
        prefix_lengths: int64 ``[B]`` on the CPU, or None.
        delays: ticks between this observation and the first action of the new chunk that can be
            executed, int64 ``[B]`` on the CPU, or None.
    """

    obs: Obs
    env_ids: torch.Tensor
    episode_ids: torch.Tensor
    chunk_ids: torch.Tensor
    seeds: torch.Tensor
    instructions: Sequence[str] = ()
    prefix: torch.Tensor | None = None
    prefix_lengths: torch.Tensor | None = None
    delays: torch.Tensor | None = None

    def __len__(self) -> int:
        return int(self.env_ids.numel())

    def rows(self, start: int, stop: int) -> ChunkRequest:
        """The part of the request for rows ``start`` to ``stop`` (views, no copies)."""
        part = slice(start, stop)

        def cut(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor[part]

        return ChunkRequest(
            obs={key: value[part] for key, value in self.obs.items()},
            env_ids=self.env_ids[part],
            episode_ids=self.episode_ids[part],
            chunk_ids=self.chunk_ids[part],
            seeds=self.seeds[part],
            instructions=self.instructions[part],
            prefix=cut(self.prefix),
            prefix_lengths=cut(self.prefix_lengths),
            delays=cut(self.delays),
        )


@dataclass(frozen=True, kw_only=True)
class ChunkResult:
    """The chunks of a request, in its order.

    The tensors belong to who asked: the policy must not write to them later, as it would to a
    buffer that it returns every time.

    Attributes:
        actions: ``[B, L, A]``, on any device, as the env's ``step`` takes them.
        valid_lengths: how many of a row's actions mean something, int64 ``[B]``, 1 to L; None for
            all of them. Those behind may hold anything, NaN too.
        info: whatever else the policy has to say; a reader must know the policy.
    """

    actions: torch.Tensor
    valid_lengths: torch.Tensor | None = None
    info: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class ChunkedPolicy(Protocol):
    """A policy that returns several actions per inference (ACT, diffusion, pi0, GR00T).

    :class:`~holdstep.policies.ChunkRunner` asks it for chunks, from one thread at a time, possibly
    another one than that which steps the env. It may have a ``close()``, which its owner calls.

    Attributes:
        spec: what it needs and returns.
    """

    spec: ChunkSpec

    def infer(self, request: ChunkRequest) -> ChunkResult:
        """The next chunks of the rows that are asked for, and of no others."""
        ...

    def reset(self, env_ids: torch.Tensor, episode_ids: torch.Tensor) -> None:
        """New episodes have begun.

        Args:
            env_ids: rows, int64 ``[k]`` on the CPU.
            episode_ids: the number of each one's new episode, int64 ``[k]`` on the CPU.
        """
        ...


@runtime_checkable
class ObservingPolicy(ChunkedPolicy, Protocol):
    """A chunked policy that keeps a history of what each row saw; its spec has ``uses_history``."""

    def observe(self, obs: Obs, active_mask: torch.Tensor) -> None:
        """What rows see after a step; called after :meth:`reset` for rows whose episode ended.

        Rows see their first observation of an episode when they are inferred from it.

        Args:
            obs: of all rows, the groups of ``spec.obs_keys``, each ``[N, ...]``.
            active_mask: rows that advanced, bool ``[N]`` on the observations' device.
        """
        ...
