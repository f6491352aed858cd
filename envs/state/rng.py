"""Random numbers of which every row has a stream of its own."""

from __future__ import annotations

import secrets

import torch

from holdstep.envs.device import canonical_device
from holdstep.envs.env_ids import EnvIds, canonical_env_ids
from holdstep.errors import ConfigError


class PerEnvRng:
    """A counter-based generator per row: no row's numbers depend on another row.

    The numbers of row ``i`` are a pure function of the seed, ``i``, and how many numbers row ``i``
    has drawn before; they are the same on a CPU and a GPU, and in one draw of four as in four of
    one. A draw computes numbers for all rows and advances the counters of the masked rows only, so
    that which rows draw never has to be known on the host.

    Each row is a SplittableRandom generator (Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators", OOPSLA 2014): output ``j`` is ``mix64(key + j * gamma)``, with a key and an
    odd gamma of the row's own. It passes BigCrush and costs 13 elementwise operations a draw;
    Philox4x32-10 and Threefry2x32-20 cost over a hundred, each of them a kernel launch on a GPU,
    where a draw is made in every step. Not for cryptography.

    Attributes:
        counter: numbers that each row has drawn, int64 ``[N]``. The part of the state that
            advances; written in place, so that it can be saved and put back.
        key: start of each row's stream, int64 ``[N]``; written in place by :meth:`reseed`.
        gamma: increment of each row's stream, odd, int64 ``[N]``; likewise.

    Args:
        num_envs: number of rows.
        device: where the numbers are made.
        seed: from 0 to ``2**64 - 1``; None takes one from the operating system.

    >>> rng = PerEnvRng(3, "cpu", seed=0)
    >>> first = rng.uniform(2, mask=torch.tensor([True, False, True]))
    >>> rng.counter
    tensor([2, 0, 2])
    >>> bool((rng.uniform(2) == first)[1].all())  # row 1 had drawn nothing yet
    True
    """

    def __init__(self, num_envs: int, device: str | torch.device, seed: int | None = None) -> None:
        self.num_envs = num_envs
        self.device = canonical_device(device)
        # A tensor made in inference mode could not be written to outside it.
        with torch.inference_mode(False):
            self._rows = torch.arange(num_envs, device=self.device)
            self.counter = torch.zeros_like(self._rows)
            self.key = torch.zeros_like(self._rows)
            self.gamma = torch.zeros_like(self._rows)
        self.reseed(secrets.randbits(64) if seed is None else seed)

    def reseed(self, seed: int, env_ids: EnvIds | None = None) -> None:
        """Start streams anew, as if the generator had just been made with this seed.

        Args:
            seed: from 0 to ``2**64 - 1``. Rows get different streams from the same seed.
            env_ids: rows to reseed, as ids or a bool mask ``[N]``; all by default. Naming rows
                waits for a GPU.

        Raises:
            ConfigError: the seed is no integer or out of range.
            InvalidEnvIdsError: ids that can't be meant.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise ConfigError(f"seed must be an integer from 0 to 2**64 - 1, got {seed!r}.")
        rows = self._rows
        if env_ids is not None:
            rows = canonical_env_ids(env_ids, num_envs=self.num_envs, device=self.device)
        # Hashed, so that the streams of nearby seeds don't overlap in the rows below.
        start = mix64(torch.tensor(_signed(seed + _GOLDEN_GAMMA)).to(self.device))
        child = start + 2 * rows * _signed(_GOLDEN_GAMMA)
        self.key[rows] = mix64(child + _signed(_GOLDEN_GAMMA))
        self.gamma[rows] = _mix_gamma(child + _signed(2 * _GOLDEN_GAMMA))
        self.counter[rows] = 0

    def uniform(
        self,
        size: int,
        *,
        mask: torch.Tensor | None = None,
        low: float = 0.0,
        high: float = 1.0,
    ) -> torch.Tensor:
        """Draw ``size`` numbers per row, uniform in ``[low, high)``; never waits for a GPU.

        Args:
            size: how many numbers each row draws.
            mask: bool ``[N]``, the rows that draw; all by default. The other rows' numbers are
                those that they will get at their next draw, and are to be thrown away.
            low: lower bound.
            high: upper bound; for bounds other than 0 and 1, rounding can reach it.

        Returns:
            float32 ``[N, size]``, multiples of ``2**-24`` before scaling.
        """
        draws = torch.arange(1, size + 1, device=self.device) + self.counter.unsqueeze(1)
        bits = mix64(torch.addcmul(self.key.unsqueeze(1), draws, self.gamma.unsqueeze(1)))
        if mask is None:
            self.counter.add_(size)
        else:
            self.counter.add_(mask, alpha=size)
        # The upper 24 bits: as many as a float32 in [0, 1) can hold without rounding up to 1.
        upper = (bits >> 40).bitwise_and_(2**24 - 1)
        numbers = upper.to(torch.float32).mul_((high - low) * 2.0**-24)
        return numbers.add_(low) if low else numbers


def _signed(pattern: int) -> int:
    """A 64-bit pattern as the int64 that holds it."""
    pattern &= 2**64 - 1
    return pattern - 2**64 if pattern >= 2**63 else pattern


_GOLDEN_GAMMA = 0x9E3779B97F4A7C15  # odd integer nearest to 2**64 over the golden ratio
_MIX13 = (_signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB))
_MURMUR3 = (_signed(0xFF51AFD7ED558CCD), _signed(0xC4CEB9FE1A85EC53))
_ALTERNATING_BITS = _signed(0xAAAAAAAAAAAAAAAA)


def mix64(z: torch.Tensor) -> torch.Tensor:
    """Stafford's Mix13, the finaliser of SplitMix64: each output bit depends on all input bits."""
    z = _fold(z, 30).mul_(_MIX13[0])
    z = _fold(z, 27).mul_(_MIX13[1])
    return _fold(z, 31)


def _mix_gamma(z: torch.Tensor) -> torch.Tensor:
    """An odd increment whose bits change often enough (SplittableRandom's ``mixGamma``)."""
    z = _fold(z, 33).mul_(_MURMUR3[0])
    z = _fold(z, 33).mul_(_MURMUR3[1])
    z = _fold(z, 33) | 1
    bits = torch.arange(64, device=z.device)
    num_changes = ((_fold(z, 1).unsqueeze(-1) >> bits) & 1).sum(-1)
    return torch.where(num_changes < 24, z ^ _ALTERNATING_BITS, z)


def _fold(z: torch.Tensor, bits: int) -> torch.Tensor:
    """``z ^ (z >>> bits)`` as a new tensor; torch shifts the sign in, which the mask takes out."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1).bitwise_xor_(z)
