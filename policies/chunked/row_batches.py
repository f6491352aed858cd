"""In which batches the rows of a request are inferred, and what of the result that changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch

from holdstep.errors import ConfigError, PolicyError
from holdstep.policies.chunked.protocol import ChunkRequest

Batching: TypeAlias = Literal["subset", "pad", "rowwise"]
"""How rows are batched.

``"subset"``: the rows that are asked for, as one batch (or several of at most ``max_batch``). The
fastest. The kernels that multiply matrices depend on the size of the batch, so a row's actions
differ in their last bits by how many rows were asked for with it.

``"pad"``: always batches of ``max_batch`` rows, in which each row has its own place (env 20 of
batches of 16 is the fifth of the second batch) and rows that weren't asked for are zeros. Neither
size nor place ever changes, so that a row's actions don't either, whoever else is asked for; on one
machine, one version of torch, and with kernels that are deterministic.

``"rowwise"``: one row at a time; slow, and independent of the other rows by construction.
"""


@dataclass(frozen=True, kw_only=True)
class RowBatch:
    """Rows that a network gets at once.

    Attributes:
        request: what it gets.
        places: where in it rows that were asked for are; all of it, or int64 ``[k]``.
        rows: which rows of the whole request those are, likewise.
    """

    request: ChunkRequest
    places: slice | torch.Tensor
    rows: slice | torch.Tensor


@dataclass(frozen=True)
class RowBatcher:
    """Splits requests into batches.

    Attributes:
        batching: see :data:`Batching`.
        max_batch: the most rows of a batch; for ``"pad"`` the number of rows of each.
    """

    batching: Batching
    max_batch: int | None = None

    def __post_init__(self) -> None:
        if self.batching not in get_args(Batching):
            raise ConfigError(
                f"batching must be one of {get_args(Batching)}, got {self.batching!r}."
            )
        size = self.max_batch
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ConfigError(f"max_batch must be an integer >= 1 or None, got {size!r}.")
        if self.batching == "pad" and size is None:
            raise ConfigError(
                "batching='pad' pads to max_batch rows: pass max_batch=num_envs, or a part of it "
                "where few rows are asked for at a time."
            )
        if self.batching == "rowwise" and size not in (None, 1):
            raise ConfigError(
                f"batching='rowwise' infers one row at a time; leave out max_batch={size}."
            )

    @property
    def independent(self) -> bool:
        """Whether a row's batch is the same whoever else is asked for."""
        return self.batching != "subset"

    def batches(self, request: ChunkRequest) -> Iterator[RowBatch]:
        """The batches of a request, in which each of its rows is once.

        Raises:
            PolicyError: rows are asked for twice in one request, which have one place.
        """
        if self.batching == "pad":
            yield from self._padded(request)
            return
        size = 1 if self.batching == "rowwise" else self.max_batch or len(request)
        for start in range(0, len(request), size):
            stop = min(start + size, len(request))
            yield RowBatch(
                request=request.rows(start, stop), places=slice(None), rows=slice(start, stop)
            )

    def _padded(self, request: ChunkRequest) -> Iterator[RowBatch]:
        size = self.max_batch
        assert size is not None
        ids = request.env_ids.tolist()
        if len(set(ids)) != len(ids):
            raise PolicyError(
                f"Rows {ids} are asked for more than once in one request; "
                "with batching='pad' each has one place."
            )
        blocks = request.env_ids // size
        for block in sorted({env_id // size for env_id in ids}):
            rows = (blocks == block).nonzero().squeeze(-1)
            places = request.env_ids[rows] % size
            yield RowBatch(
                request=_spread(request, rows, places, first_env_id=block * size, size=size),
                places=places,
                rows=rows,
            )


def _spread(
    request: ChunkRequest,
    rows: torch.Tensor,
    places: torch.Tensor,
    *,
    first_env_id: int,
    size: int,
) -> ChunkRequest:
    """``rows`` of a request at their ``places`` among ``size`` rows that are otherwise zeros."""

    def spread(tensor: torch.Tensor) -> torch.Tensor:
        device = tensor.device
        full = tensor.new_zeros((size, *tensor.shape[1:]))
        full[places.to(device)] = tensor[rows.to(device)]
        return full

    def spread_optional(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else spread(tensor)

    instructions = [""] * size if request.instructions else []
    if request.instructions:
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            instructions[place] = request.instructions[row]
    return ChunkRequest(
        obs={key: spread(value) for key, value in request.obs.items()},
        env_ids=torch.arange(first_env_id, first_env_id + size),
        episode_ids=spread(request.episode_ids),
        chunk_ids=spread(request.chunk_ids),
        seeds=spread(request.seeds),
        instructions=instructions,
        prefix=spread_optional(request.prefix),
        prefix_lengths=spread_optional(request.prefix_lengths),
        delays=spread_optional(request.delays),
    )


def infer_batches(
    network: Callable[[RowBatch], torch.Tensor],
    request: ChunkRequest,
    batcher: RowBatcher,
    *,
    chunk_shape: tuple[int, int],
) -> torch.Tensor:
    """Ask for the chunks of a request batch by batch.

    Args:
        network: chunks ``[b, L, A]`` of a batch of b rows.
        request: B rows.
        batcher: how they are split.
        chunk_shape: L and A.

    Returns:
        float32 ``[B, L, A]`` where the network's are; a tensor of its own, that may be written to.

    Raises:
        PolicyError: the network returned something else.
    """
    actions: torch.Tensor | None = None
    for batch in batcher.batches(request):
        chunks = network(batch)
        shape = (len(batch.request), *chunk_shape)
        if not isinstance(chunks, torch.Tensor) or tuple(chunks.shape) != shape:
            got = (
                f"of shape {tuple(chunks.shape)}"
                if isinstance(chunks, torch.Tensor)
                else f"{type(chunks).__name__}"
            )
            raise PolicyError(
                f"The network returned actions {got} for {len(batch.request)} rows, where "
                f"{shape} was expected: rows, chunk_length, action_dim."
            )
        if not chunks.is_floating_point():
            raise PolicyError(
                f"The network must return floating point actions, got {chunks.dtype}."
            )
        if actions is None:
            actions = chunks.new_empty((len(request), *chunk_shape), dtype=torch.float32)
        actions[_on(batch.rows, chunks)] = chunks[_on(batch.places, chunks)].to(torch.float32)
    if actions is None:
        raise PolicyError("A request must ask for at least one row.")
    return actions


def _on(index: slice | torch.Tensor, tensor: torch.Tensor) -> slice | torch.Tensor:
    return index if isinstance(index, slice) else index.to(tensor.device)
