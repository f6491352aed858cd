"""The observations that rows' next chunks are inferred from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.envs.lazy_obs import LazyObs, Tick
from holdstep.errors import ConfigError
from holdstep.policies.chunked.transfers import uploaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdstep.envs.contract import Obs


def shallow_copy(obs: Obs) -> Obs:
    """Another dictionary of the same tensors, to be edited without consequences for this one.

    Images that are drawn when they are looked at stay so, and are drawn once for both.
    """
    if not isinstance(obs, LazyObs):
        return dict(obs)
    pending = obs.pending
    ready = {name: obs[name] for name in obs if name not in pending}
    return LazyObs(obs, ready, Tick(lambda name: {name: obs[name]}))


class ObservedRows:
    """Cuts the rows that are asked for out of the env's observations, into memory of their own.

    A scheduler that asks early needs observations from the moment at which a row reached its lead,
    which may be some steps before it is asked for: those are kept here meanwhile. Otherwise nothing
    is kept, and only the groups that the policy reads are looked at, when it is asked (which is
    what lazily rendered images wait for).

    Args:
        keys: groups to take; None for all of them.
    """

    def __init__(self, keys: Sequence[str] | None) -> None:
        self._keys = keys
        self._obs: Obs = {}
        self._kept: Obs = {}

    def update(self, obs: Obs) -> None:
        """A step or reset has returned these."""
        missing = [key for key in self._keys or () if key not in obs]
        if missing:
            raise ConfigError(
                f"The policy reads the observation groups {missing}, which this env does not have; "
                f"it has {sorted(obs)}."
            )
        self._obs = obs

    def keep(self, rows: np.ndarray) -> None:
        """Keep what rows, int64 ``[k]``, see now."""
        for key, value in self.now(rows).items():
            if key not in self._kept:
                with torch.inference_mode(False):
                    self._kept[key] = torch.empty_like(self._obs[key])
            self._kept[key][uploaded(rows, value.device)] = value

    def now(self, rows: np.ndarray) -> Obs:
        """What rows, int64 ``[k]``, see now; new tensors."""
        return _rows_of(self._obs, self._keys, rows)

    def all_rows(self) -> Obs:
        """What all rows see now, ``[N, ...]``; new tensors."""
        keys = list(self._obs) if self._keys is None else self._keys
        return {key: self._obs[key].clone() for key in keys}

    def kept(self, rows: np.ndarray) -> Obs:
        """What was kept of rows, int64 ``[k]``; new tensors."""
        return _rows_of(self._kept, self._keys, rows)


def _rows_of(obs: Obs, keys: Sequence[str] | None, rows: np.ndarray) -> Obs:
    keys = list(obs) if keys is None else keys
    return {key: (group := obs[key])[uploaded(rows, group.device)] for key in keys}
