"""Which rows of which env a batch holds: what holdstep's own servers are told beside the protocols.

GR00T's ``get_action`` has an ``options`` that its server ignores, which is where the block travels;
openpi's servers get it only if their metadata say that they take it. With it a served policy sees
the same request as a local one, seeds and episodes included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.errors import MalformedMessageError
from holdstep.policies.chunked.protocol import ChunkRequest

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs

KEY = "holdstep"
"""Under which everything of holdstep's own travels."""
_ROWS = ("env_ids", "episode_ids", "chunk_ids", "seeds")
_OPTIONAL_ROWS = ("prefix_lengths", "delays")


def block_of(request: ChunkRequest) -> dict[str, torch.Tensor]:
    """What the wire is told about a request's rows."""
    block = {name: getattr(request, name) for name in _ROWS}
    for name in ("prefix", *_OPTIONAL_ROWS):
        value = getattr(request, name)
        if value is not None:
            block[name] = value
    return block


def request_from(
    obs: Obs, block: object, *, instructions: Sequence[str], first_seed: int
) -> ChunkRequest:
    """A request out of what came over a wire.

    Args:
        obs: observations by group, each ``[B, ...]``.
        block: what :func:`block_of` made; None from a client that is not holdstep's, whose rows are
            then numbered from 0.
        instructions: one for each row, or none.
        first_seed: seeds of rows that bring none count up from here.

    Raises:
        MalformedMessageError: rows that don't fit the observations.
    """
    sizes = {len(value) for value in obs.values() if value.ndim}
    if len(sizes) != 1 or 0 in sizes:
        raise MalformedMessageError(f"observations of {sorted(sizes) or 'no'} rows")
    num_rows = sizes.pop()
    if len(instructions) not in (0, num_rows):
        raise MalformedMessageError(f"{len(instructions)} instructions for {num_rows} rows")
    if block is None:
        block = {"env_ids": np.arange(num_rows), "seeds": first_seed + np.arange(num_rows)}
    elif not isinstance(block, Mapping):
        raise MalformedMessageError(f"a {KEY!r} that is no map")
    prefix = block.get("prefix")
    if prefix is not None and (
        not isinstance(prefix, np.ndarray)
        or prefix.dtype != np.float32
        or prefix.ndim != 3
        or len(prefix) != num_rows
    ):
        raise MalformedMessageError("a prefix that is no float32 array [B, P, A]")
    device = next(iter(obs.values())).device
    zeros = np.zeros(num_rows, np.int64)
    env_ids, episode_ids, chunk_ids, seeds = (
        _integers(block.get(name, zeros), name, num_rows) for name in _ROWS
    )
    prefix_lengths, delays = (
        _integers(block[name], name, num_rows) if name in block else None for name in _OPTIONAL_ROWS
    )
    return ChunkRequest(
        obs=obs,
        env_ids=env_ids,
        episode_ids=episode_ids,
        chunk_ids=chunk_ids,
        seeds=seeds,
        instructions=tuple(instructions),
        prefix=None if prefix is None else torch.from_numpy(prefix).to(device),
        prefix_lengths=prefix_lengths,
        delays=delays,
    )


def reset_rows(block: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and episodes of a reset.

    Raises:
        MalformedMessageError: no such thing.
    """
    if not isinstance(block, Mapping) or not isinstance(block.get("env_ids"), np.ndarray):
        raise MalformedMessageError("a reset without env_ids")
    num_rows = block["env_ids"].size
    return (
        _integers(block["env_ids"], "env_ids", num_rows),
        _integers(block.get("episode_ids"), "episode_ids", num_rows),
    )


def _integers(values: object, name: str, num_rows: int) -> torch.Tensor:
    if (
        not isinstance(values, np.ndarray)
        or values.dtype.kind != "i"
        or values.shape != (num_rows,)
        or (name != "delays" and values.min(initial=0) < 0)
    ):
        raise MalformedMessageError(f"{name} that are not {num_rows} integers >= 0")
    return torch.from_numpy(values.astype(np.int64))
