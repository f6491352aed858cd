"""What a policy is asked: whose observations, from when, with which seeds and instructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.policies.chunked.observed_rows import ObservedRows
from holdstep.policies.chunked.protocol import ChunkRequest
from holdstep.policies.chunked.seeds import chunk_seeds
from holdstep.policies.chunked.transfers import uploaded

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, TorchVectorEnv
    from holdstep.policies.chunked.action_source import ActionSource
    from holdstep.policies.chunked.ledger import ChunkLedger
    from holdstep.policies.chunked.protocol import ChunkSpec


class RequestMaker:
    """Keeps what requests are made of, and makes them; all that is in one is the policy's own.

    Args:
        env: whose rows they are.
        spec: of the policy.
        ledger: which chunk of which episode each row is in.
        source: what rows are going to do meanwhile.
        seed: of the policy's noise.
        max_lead: the most actions that a row may have left when it is observed.
    """

    def __init__(
        self,
        env: TorchVectorEnv,
        spec: ChunkSpec,
        ledger: ChunkLedger,
        source: ActionSource,
        *,
        seed: int,
        max_lead: int,
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._seed = seed
        self._observed = ObservedRows(spec.obs_keys)
        # Steps that rows had made when they were observed for their next chunk.
        self._observed_at = np.zeros(env.num_envs, dtype=np.int64)
        self._instructions = [""] * env.num_envs if spec.uses_instructions else []
        self._names = np.full(env.num_envs, -1, dtype=np.int64)
        with torch.inference_mode(False):  # written to in any mode
            shape = (env.num_envs, max_lead, spec.action_dim)
            self._prefixes = torch.zeros(shape, device=env.device)
            self._places = torch.arange(max_lead, device=env.device)

    def update(self, obs: Obs) -> None:
        """A step or reset has returned these."""
        self._observed.update(obs)

    def begin_episodes(self, rows: np.ndarray) -> None:
        """Rows, int64 ``[k]``, are in new episodes, which have no other name."""
        self._names[rows] = -1

    def set_instructions(self, rows: np.ndarray, texts: Sequence[str]) -> None:
        """From their next chunk on, rows, int64 ``[k]``, are to do this."""
        if not self._instructions:
            self._instructions = [""] * self._ledger.num_envs
        for row, text in zip(rows.tolist(), texts, strict=True):
            self._instructions[row] = text

    def name_episodes(self, rows: np.ndarray, numbers: np.ndarray) -> None:
        """The current episodes of rows, int64 ``[k]``, draw noise by these numbers."""
        self._names[rows] = numbers

    def observe(self) -> None:
        """Keep what rows see that have just reached the lead, and what they will do from now on."""
        handover = self._ledger.handover
        if handover.lead and len(rows := self._ledger.newly_wanting()):
            self._observed.keep(rows)
            self._observed_at[rows] = self._ledger.row_steps[rows]
            if handover.with_prefix:
                upcoming = self._source.upcoming(rows, handover.lead)
                left = uploaded(self._ledger.left_when_observed(rows), upcoming.device)
                # Zeros where no action is, for what is left over there may be NaN.
                there = (self._places[: handover.lead] < left[:, None]).unsqueeze(-1)
                ids = uploaded(rows, upcoming.device)
                self._prefixes[ids, : handover.lead] = torch.where(there, upcoming, 0.0)

    def observed_at(self, rows: np.ndarray) -> np.ndarray:
        """Steps that rows had made when they were observed, int64 ``[k]``."""
        early = self._ledger.handover.lead > 0
        steps: np.ndarray = (self._observed_at if early else self._ledger.row_steps)[rows]
        return steps

    def all_rows(self) -> Obs:
        """What all rows see now."""
        return self._observed.all_rows()

    def request(self, rows: np.ndarray) -> ChunkRequest:
        """The request for the next chunks of rows, int64 ``[k]``."""
        ledger, handover = self._ledger, self._ledger.handover
        episodes, chunks = ledger.episode_ids[rows], ledger.chunk_ids[rows]
        named = self._names[rows] >= 0
        left = torch.from_numpy(ledger.left_when_observed(rows))
        seeds = chunk_seeds(
            self._seed,
            np.where(named, -1, rows),
            np.where(named, self._names[rows], episodes),
            chunks,
        )
        with_prefix = handover.with_prefix
        return ChunkRequest(
            obs=self._observed.kept(rows) if handover.lead else self._observed.now(rows),
            env_ids=torch.from_numpy(rows.copy()),
            episode_ids=torch.from_numpy(episodes),
            chunk_ids=torch.from_numpy(chunks),
            seeds=torch.from_numpy(seeds),
            instructions=[self._instructions[row] for row in rows] if self._instructions else (),
            prefix=self._prefixes[uploaded(rows, self._prefixes.device)] if with_prefix else None,
            prefix_lengths=left if with_prefix else None,
            delays=left.clone() if handover.skip_elapsed else None,
        )
