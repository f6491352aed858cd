"""How far two results are apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Difference:
    """The largest difference between two tensors.

    Attributes:
        absolute: in the tensors' unit.
        scaled: the same, relative to the expected value where that is larger than 1. It is what
            limits are compared with: actions of a random policy can be in the hundreds, where
            float32 resolves no 1e-5.
        index: where the scaled difference is largest, row first; None where the tensors are empty.
    """

    absolute: float
    scaled: float
    index: tuple[int, ...] | None


def difference(got: torch.Tensor, expected: torch.Tensor) -> Difference:
    """The largest difference between two tensors.

    Entries that are not a number, or the same infinity, in both are equal. A shape that is not the
    expected one is an infinite difference, not a broadcast.

    >>> difference(torch.tensor([1.0, 205.0]), torch.tensor([1.5, 200.0]))
    Difference(absolute=5.0, scaled=0.3333333333333333, index=(0,))
    """
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return Difference(float("inf"), float("inf"), None)
    if got.numel() == 0:
        return Difference(0.0, 0.0, None)
    left, right = got.detach().cpu().double(), expected.detach().cpu().double()
    same = (left == right) | (left.isnan() & right.isnan())
    absolute = torch.where(same, 0.0, (left - right).abs()).nan_to_num(
        nan=float("inf"), posinf=float("inf")
    )
    size = right.abs().nan_to_num(nan=1.0, posinf=1.0).clamp_min(1.0)
    scaled = absolute / size
    flat = int(scaled.argmax())
    index = tuple(int(at) for at in torch.unravel_index(torch.tensor(flat), scaled.shape))
    return Difference(float(absolute.max()), float(scaled.flatten()[flat]), index)
