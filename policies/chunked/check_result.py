"""Whether what a chunked policy returned is what it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from holdstep.errors import PolicyError
from holdstep.policies.chunked.protocol import ChunkResult
from holdstep.policies.chunked.transfers import moved

if TYPE_CHECKING:
    from holdstep.policies.chunked.protocol import ChunkRequest, ChunkSpec


def checked_result(result: ChunkResult, request: ChunkRequest, spec: ChunkSpec) -> ChunkResult:
    """The result itself, when it fits; reads it to the host, once per inference.

    Raises:
        PolicyError: naming what was got and what the spec promises.
    """
    if not isinstance(result, ChunkResult):
        raise PolicyError(f"infer() must return a ChunkResult, got {type(result).__name__}.")
    actions, lengths = result.actions, result.valid_lengths
    shape = (len(request), spec.chunk_length, spec.action_dim)
    if not isinstance(actions, torch.Tensor) or tuple(actions.shape) != shape:
        got = tuple(actions.shape) if isinstance(actions, torch.Tensor) else type(actions).__name__
        raise PolicyError(
            f"infer() returned actions of shape {got} for {len(request)} rows; its spec promises "
            f"{shape}: rows, chunk_length, action_dim."
        )
    if not actions.is_floating_point():
        raise PolicyError(f"infer() must return floating point actions, got {actions.dtype}.")
    if lengths is not None:
        _check_lengths(lengths, request, spec)
    finite = torch.isfinite(actions.float()).all(dim=2)  # as they are executed: 1e39 is not
    if lengths is not None:  # what lies behind them may be anything
        places = torch.arange(spec.chunk_length, device=actions.device)
        finite |= places >= moved(lengths, actions.device)[:, None]
    if not bool(finite.all()):
        bad = finite.all(dim=1).logical_not().cpu()
        raise PolicyError(
            f"infer() returned actions that are NaN or infinite for rows "
            f"{request.env_ids[bad].tolist()}. None of this request's actions were executed."
        )
    return result


def _check_lengths(lengths: torch.Tensor, request: ChunkRequest, spec: ChunkSpec) -> None:
    if (
        not isinstance(lengths, torch.Tensor)
        or lengths.shape != (len(request),)
        or lengths.is_floating_point()
        or lengths.dtype == torch.bool
    ):
        raise PolicyError(
            f"infer() must return valid_lengths as int64 [{len(request)}], or None for whole "
            f"chunks; got {lengths!r}."
        )
    if bool(((lengths < 1) | (lengths > spec.chunk_length)).any()):
        raise PolicyError(
            f"infer() returned valid_lengths {lengths.tolist()}; each must be from 1 to the "
            f"chunk_length of {spec.chunk_length}."
        )


def joined(results: Sequence[ChunkResult]) -> ChunkResult:
    """The results of the parts of a request as one; entries of ``info`` as lists of the parts'."""
    if len(results) == 1:
        return results[0]
    lengths = None
    if any(result.valid_lengths is not None for result in results):
        lengths = torch.cat(
            [
                torch.full(result.actions.shape[:1], result.actions.shape[1])
                if result.valid_lengths is None
                else result.valid_lengths.cpu()
                for result in results
            ]
        )
    return ChunkResult(
        actions=torch.cat([result.actions for result in results]),
        valid_lengths=lengths,
        info={
            key: [result.info.get(key) for result in results]
            for key in dict.fromkeys(key for result in results for key in result.info)
        },
    )
