"""What every remote policy does with a batch: part it, and look at the actions that come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from holdstep.errors import MalformedMessageError
from holdstep.policies.chunked.protocol import ChunkRequest, ChunkResult, ChunkSpec
from holdstep.policies.remote.row_block import KEY


@dataclass(frozen=True)
class Answer:
    """What a server answered for some rows, looked at and found usable.

    Attributes:
        actions: float32 ``[b, L, A]``, finite.
        valid_lengths: int64 ``[b]``, 1 to L.
        info: what else it said.
    """

    actions: np.ndarray
    valid_lengths: np.ndarray
    info: Any


def parts_of(request: ChunkRequest, max_batch: int | None) -> Iterator[ChunkRequest]:
    """A request in parts of at most ``max_batch`` rows, whose sizes differ by one at most."""
    num_rows = len(request)
    num_parts = -(-num_rows // (max_batch or max(num_rows, 1)))
    for part in range(num_parts):
        start, stop = num_rows * part // num_parts, num_rows * (part + 1) // num_parts
        yield request if num_parts == 1 else request.rows(start, stop)


def checked_answer(actions: np.ndarray, info: object) -> Answer:
    """An answer of a server, if a robot may be given it.

    Args:
        actions: float32 ``[b, L, A]``.
        info: what came with them; holdstep's own servers say there how long each chunk is.

    Raises:
        MalformedMessageError: actions that are not finite, lengths that can't be meant.
    """
    num_rows, chunk_length = actions.shape[:2]
    finite = np.isfinite(actions)
    if not finite.all():
        num_bad = int((~finite.reshape(num_rows, -1).all(axis=1)).sum())
        raise MalformedMessageError(f"actions that are not finite, in {num_bad} of {num_rows} rows")
    block: Any = info.get(KEY) if isinstance(info, Mapping) else None
    lengths = block.get("valid_lengths") if isinstance(block, Mapping) else None
    if lengths is None:
        lengths = np.full(num_rows, chunk_length)
    if (
        not isinstance(lengths, np.ndarray)
        or lengths.dtype.kind != "i"
        or lengths.shape != (num_rows,)
        or lengths.min() < 1
        or lengths.max() > chunk_length
    ):
        raise MalformedMessageError(f"valid_lengths that are not {num_rows} of 1 to {chunk_length}")
    return Answer(actions, lengths.astype(np.int64), info)


def result_of(answers: Sequence[Answer], spec: ChunkSpec, *, device: torch.device) -> ChunkResult:
    """One result out of the answers for the parts of a batch, in their order."""
    no_rows = np.zeros((0, spec.chunk_length, spec.action_dim), np.float32)
    actions = np.concatenate([no_rows, *(answer.actions for answer in answers)])
    lengths = np.concatenate([np.zeros(0, np.int64), *(a.valid_lengths for a in answers)])
    return ChunkResult(
        actions=torch.from_numpy(actions).to(device),
        valid_lengths=torch.from_numpy(lengths),
        info={"server": [answer.info for answer in answers]},
    )


def device_of(request: ChunkRequest) -> torch.device:
    """Where a request's observations are."""
    return next(iter(request.obs.values())).device
