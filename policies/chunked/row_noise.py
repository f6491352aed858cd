"""Random numbers for a batch of rows, each of them from its own row's seed alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from holdstep.envs.state.rng import mix64
from holdstep.policies.chunked.transfers import moved

# SplitMix64's increment, as the int64 with its bits.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64


def per_row_noise(
    seeds: torch.Tensor,
    shape: Sequence[int],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Standard normal noise of which a row's part depends on that row's seed alone.

    Not on the other rows, how many there are, or where in the batch the row is; bit for bit. On a
    CPU and a GPU the numbers agree to within rounding.

    Args:
        seeds: int64 ``[B]``, such as :attr:`ChunkRequest.seeds`.
        shape: of one row's noise.
        device: where the noise is made; that of the seeds by default.
        dtype: of the noise.

    Returns:
        ``[B, *shape]``.

    >>> noise = per_row_noise(torch.tensor([7, 8, 9]), (4, 2))
    >>> bool((noise[1:2] == per_row_noise(torch.tensor([8]), (4, 2))).all())
    True
    """
    return RowStreams(seeds).normal(shape, device).to(dtype)


class RowStreams:
    """A stream of random numbers per row, keyed by the row's seed.

    They are SplitMix64's (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014): counter-based, so a batch is made by a few elementwise operations, without a
    generator per row.

    Args:
        seeds: int64 ``[B]``; the numbers are made where they are.
    """

    def __init__(self, seeds: torch.Tensor) -> None:
        # Mixed, so that seeds that follow each other don't give streams that do.
        keys = mix64(seeds.to(torch.int64) + _GAMMA).unsqueeze(1)
        self._device = keys.device
        # A network draws many times, and each copy to its GPU takes longer than a draw.
        self._keys = {keys.device: keys}
        self._num_drawn = 0

    def uniform(
        self, shape: Sequence[int], device: str | torch.device | None = None
    ) -> torch.Tensor:
        """The next numbers of each row, uniform in (0, 1), float64 ``[B, *shape]``."""
        keys = self._keys_on(self._device if device is None else torch.device(device))
        size = math.prod(shape)
        first = self._num_drawn + 1
        self._num_drawn += size
        bits = mix64(keys + torch.arange(first, first + size, device=keys.device) * _GAMMA)
        # 52 bits and a half: all of it is exact in a float64, and neither 0 nor 1 is reached.
        upper = (bits >> 12).bitwise_and_(2**52 - 1)
        return upper.to(torch.float64).add_(0.5).mul_(2.0**-52).reshape(-1, *shape)

    def normal(
        self, shape: Sequence[int], device: str | torch.device | None = None
    ) -> torch.Tensor:
        """The next numbers of each row, standard normal, float64 ``[B, *shape]``."""
        # By inversion: ndtri is computed number by number. log and cos, for a Box-Muller transform,
        # are computed in vectors, and nothing promises that the remainder at the end of a batch is
        # rounded alike: a row's noise could depend on where in the batch it is.
        noise: torch.Tensor = torch.special.ndtri(self.uniform(shape, device))
        return noise

    def _keys_on(self, device: torch.device) -> torch.Tensor:
        keys = self._keys.get(device)
        if keys is None:
            keys = self._keys[device] = moved(self._keys[self._device], device)
        return keys
