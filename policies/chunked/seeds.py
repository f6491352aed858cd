"""Seeds of a policy's noise: one for each chunk, whoever else is inferred with it."""

from __future__ import annotations

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def chunk_seeds(
    run_seed: int, env_ids: np.ndarray, episode_ids: np.ndarray, chunk_ids: np.ndarray
) -> np.ndarray:
    """A seed for each chunk, a hash of what the chunk is.

    Noise that is drawn from one generator for a whole batch couples the rows of that batch: who
    asks at the same moment changes what a row does. With these seeds it does not.

    Args:
        run_seed: of the whole run, any integer.
        env_ids: int64 ``[B]``.
        episode_ids: int64 ``[B]``.
        chunk_ids: int64 ``[B]``.

    Returns:
        int64 ``[B]``, from 0 to ``2**63 - 1``.

    >>> one, other = np.array([0, 0]), np.array([1, 2])
    >>> seeds = chunk_seeds(7, np.array([3, 3]), one, other)
    >>> bool(seeds[0] == chunk_seeds(7, np.array([3]), one[:1], other[:1])[0])
    True
    """
    key = np.full(np.shape(env_ids), run_seed & (2**64 - 1), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in (env_ids, episode_ids, chunk_ids):
            # A bijection of each part that is not symmetric in it and the key: run 3's row 5 must
            # not share its noise with run 5's row 3.
            key = _mix(_mix(key + _GAMMA) + np.asarray(part).astype(np.uint64))
    seeds: np.ndarray = (key >> np.uint64(1)).astype(np.int64)
    return seeds


def _mix(bits: np.ndarray) -> np.ndarray:
    """The finaliser of SplittableRandom (Steele, Lea and Flood, OOPSLA 2014): a bijection."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = bits ^ (bits >> np.uint64(31))
    return mixed
