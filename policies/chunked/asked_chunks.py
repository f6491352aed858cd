"""Chunks that were asked for and have not come yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.policies.chunked.handover import Handover
from holdstep.policies.chunked.transfers import uploaded

if TYPE_CHECKING:
    from holdstep.policies.chunked.protocol import ChunkResult


@dataclass(frozen=True, kw_only=True)
class AskedChunks:
    """What is needed to hand out a request's chunks when they come.

    Attributes:
        rows: those that want one, int64 ``[k]``.
        places: where in the request they are, int64 ``[k]``.
        handover: the rule that held.
        observed_at: steps that they had made when they were observed, int64 ``[k]``.
    """

    rows: np.ndarray
    places: np.ndarray
    handover: Handover
    observed_at: np.ndarray

    def chunks(self, result: ChunkResult, wanted: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """Those of a result that are still wanted, and how much of each is valid.

        Args:
            result: the answer to the whole request.
            wanted: of the rows here, bool ``[k]``; w of them.

        Returns:
            The chunks ``[w, L, A]``, and int64 ``[w]``.
        """
        places = self.places[wanted]
        chunks = result.actions.detach()
        if result.valid_lengths is None:
            lengths = np.full(len(places), chunks.shape[1], dtype=np.int64)
        else:
            lengths = result.valid_lengths.cpu().numpy().astype(np.int64)[places]
        if len(places) != len(chunks):
            chunks = chunks[uploaded(places, chunks.device)]
        return chunks, lengths
