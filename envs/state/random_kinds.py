"""The four kinds of numbers that row streams make, and how torch makes them."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Protocol

import torch

from holdstep.envs.state.rng import PerEnvRng, mix64


class Kind(IntEnum):
    """What a 64-bit output of a stream becomes; ``a`` and ``b`` are the kind's two parameters.

    Each number takes one output, so that a draw of ``n`` numbers advances a counter by ``n``.
    """

    UNIFORM = 0
    """``a + b * u``, float32, rounded once; ``u`` is a multiple of ``2**-24`` in [0, 1)."""

    NORMAL = 1
    """``a + b * z``, float32; ``z`` by Box and Muller from two 32-bit halves, in float64."""

    INTEGER = 2
    """``a`` plus an integer from 0 to ``b - 1``, int64; ``b`` from 1 to ``2**63``."""

    UNIT = 3
    """float64 in the open interval (0, 1), 52 bits: what other distributions are made of."""


DTYPES = {
    Kind.UNIFORM: torch.float32,
    Kind.NORMAL: torch.float32,
    Kind.INTEGER: torch.int64,
    Kind.UNIT: torch.float64,
}
"""What each kind is made as; other dtypes are converted from it."""

NUM_MULTIPLIED = 2**31
"""Up to this many integers are told apart by multiplying 32 bits, more by a remainder of 63."""


class Engine(Protocol):
    """Fills memory with the next numbers of rows' streams."""

    def draw(
        self,
        out: torch.Tensor,
        kind: Kind,
        a: float,
        b: float,
        ids: torch.Tensor | None,
        *,
        advances: bool = True,
    ) -> None:
        """Write ``out``; never waits for a GPU.

        Args:
            out: contiguous, not empty, of the kind's dtype, on the streams' device; its leading
                dimension counts rows.
            kind: of numbers.
            a: first parameter.
            b: second parameter.
            ids: rows, contiguous int64 ``[k]``; None for rows 0 to ``k - 1``.
            advances: whether the numbers count as drawn.
        """


class TorchEngine:
    """Row streams in plain torch: some fifteen operations a draw. Runs everywhere."""

    def __init__(self, rng: PerEnvRng) -> None:
        self._rng = rng

    def draw(
        self,
        out: torch.Tensor,
        kind: Kind,
        a: float,
        b: float,
        ids: torch.Tensor | None,
        *,
        advances: bool = True,
    ) -> None:
        """See :class:`Engine`."""
        rng = self._rng
        num_rows = out.shape[0]
        num_each = out.numel() // num_rows
        rows: slice | torch.Tensor = slice(num_rows) if ids is None else ids
        index = torch.arange(1, num_each + 1, device=out.device) + rng.counter[rows].unsqueeze(1)
        bits = mix64(torch.addcmul(rng.key[rows].unsqueeze(1), index, rng.gamma[rows].unsqueeze(1)))
        out.copy_(_numbers(bits, kind, a, b).view(out.shape))
        if advances:
            advance(rng, ids, num_rows, num_each)


def advance(rng: PerEnvRng, ids: torch.Tensor | None, num_rows: int, num_each: int) -> None:
    """Count ``num_each`` numbers as drawn by rows ``ids``, or by the first ``num_rows``."""
    if ids is None:
        rng.counter[:num_rows].add_(num_each)
    else:
        # Not index_add_: an id that is given twice has drawn once.
        rng.counter[ids] = rng.counter[ids] + num_each


def _numbers(bits: torch.Tensor, kind: Kind, a: float, b: float) -> torch.Tensor:
    if kind is Kind.UNIFORM:
        # In float64 the product of two float32 is exact: fused or not, the sum is rounded alike.
        unit = _upper(bits, 24).double().mul_(2.0**-24)
        return unit.mul_(b).add_(a).float()
    if kind is Kind.NORMAL:
        radius = _upper(bits, 32).double().add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
        angle = bits.bitwise_and(2**32 - 1).double().mul_(2.0**-32).mul_(2.0 * math.pi)
        return radius.mul_(angle.cos_()).mul_(b).add_(a).float()
    if kind is Kind.INTEGER:
        span, low = int(b), int(a)
        if span <= NUM_MULTIPLIED:
            return _upper(bits, 32).mul_(span).bitwise_right_shift_(32).add_(low)
        upper = _upper(bits, 63)
        return (upper if span == 2**63 else upper.remainder_(span)).add_(low)
    return _upper(bits, 52).double().add_(0.5).mul_(2.0**-52)


def _upper(bits: torch.Tensor, num: int) -> torch.Tensor:
    """The upper ``num`` bits as numbers that are not negative."""
    return (bits >> (64 - num)).bitwise_and_((1 << num) - 1)
