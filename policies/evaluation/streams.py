"""What makes the n-th episode the same whichever row runs it, and whenever."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from holdstep.envs.adapters.gymnasium import GymnasiumVectorEnv
from holdstep.envs.adapters.gymnasium_autoreset import why_no_row_reset
from holdstep.envs.adapters.simulator_env import SimulatorEnv
from holdstep.envs.reference.base import ReferenceEnv
from holdstep.envs.state.rng import PerEnvRng
from holdstep.errors import CapabilityError
from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.suspend import SuspendOnWait

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv

SeedScope = Literal["episode", "run"]
ResetRows = Callable[[Sequence[int], int | None], None]
"""Resets rows in the course of a run, with a seed or without."""

_BITS = 31  # what simulators take: mjlab passes its seed to Warp as an int32
_MASK = 2**_BITS - 1


def episode_seed(seed: int, episode: int) -> int:
    """The seed of an episode: a hash of the run's seed and of its number.

    For one run's seed it is a bijection, so that no two of its episodes have the same seed.

    Args:
        seed: of the run, any integer.
        episode: number of the episode, in the order in which they start; below ``2**31``.

    Returns:
        From 0 to ``2**31 - 1``.

    >>> episode_seed(0, 1) == episode_seed(0, 1), episode_seed(0, 1) == episode_seed(1, 1)
    (True, False)
    """
    # Two keys that have nothing to do with each other, as other runs' seeds should have nothing to
    # do with these: with one, or with keys made by the same function, runs share seeds.
    digest = hashlib.blake2b(str(seed).encode(), digest_size=8).digest()
    first, second = (int.from_bytes(digest[i : i + 4], "little") & _MASK for i in (0, 4))
    return _scramble(_scramble(episode ^ first) ^ second)


def _scramble(x: int) -> int:
    """A bijection of 31-bit integers: xor-shifts and products with odd numbers."""
    for factor in (0x2C1B3C6D, 0x297A2D39):
        x ^= x >> 15
        x = x * factor & _MASK
    return x ^ x >> 14


class EpisodeStreams(ABC):
    """Puts rows at the start of certain episodes.

    Attributes:
        scope: ``"episode"``: an episode's random numbers depend on its own seed alone; ``"run"``:
            they follow from the first reset and from all that was drawn since.
    """

    scope: ClassVar[SeedScope] = "episode"

    @abstractmethod
    def begin(self, rows: Sequence[int], seeds: Sequence[int], reset_rows: ResetRows) -> None:
        """Start episodes.

        Args:
            rows: which were reset without a seed just now.
            seeds: one per row.
            reset_rows: resets rows once more.
        """


class OneStream(EpisodeStreams):
    """The rows go on from where the env's own reset put them."""

    scope = "run"

    def begin(self, rows: Sequence[int], seeds: Sequence[int], reset_rows: ResetRows) -> None:
        """Nothing to do."""


class SeededResets(EpisodeStreams):
    """Each row is reset by itself, with its episode's seed.

    Args:
        offset_by_row: the env adds the number of the row to a seed, as Gymnasium's vector envs do.
    """

    def __init__(self, *, offset_by_row: bool) -> None:
        self._offset_by_row = offset_by_row

    def begin(self, rows: Sequence[int], seeds: Sequence[int], reset_rows: ResetRows) -> None:
        """One reset for each row."""
        for row, seed in zip(rows, seeds, strict=True):
            if self._offset_by_row:
                seed = (seed - row) % 2**_BITS
            reset_rows([row], seed)


class CounterStreams(EpisodeStreams):
    """Rows with counter-based streams get those of their episodes, and are reset together.

    ``reset(seed=...)`` would give each row another stream for the same seed, so that an episode
    would depend on the row that runs it. Written instead is the stream that row 0 has for that
    seed: an env of one row, reset with an episode's seed, starts that very episode.

    Args:
        device: of the env.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @abstractmethod
    def write(
        self, ids: torch.Tensor, key: torch.Tensor, gamma: torch.Tensor, counter: torch.Tensor
    ) -> None:
        """Give rows, int64 ``[k]``, their streams, each int64 ``[k]``."""

    def begin(self, rows: Sequence[int], seeds: Sequence[int], reset_rows: ResetRows) -> None:
        """One reset for all of the rows."""
        streams = [PerEnvRng(1, "cpu", seed) for seed in seeds]
        columns = [
            torch.cat([getattr(stream, name) for stream in streams]).to(self._device)
            for name in ("key", "gamma", "counter")
        ]
        ids = torch.tensor(rows, dtype=torch.int64, device=self._device)
        self.write(ids, *columns)
        reset_rows(rows, None)


class ReferenceStreams(CounterStreams):
    """Those of a reference env, which shows all of its rows' state."""

    def __init__(self, env: ReferenceEnv) -> None:
        super().__init__(env.device)
        self._buffers = env.row_buffers

    def write(
        self, ids: torch.Tensor, key: torch.Tensor, gamma: torch.Tensor, counter: torch.Tensor
    ) -> None:
        """Into the env's own buffers."""
        for name, values in (("key", key), ("gamma", gamma), ("counter", counter)):
            self._buffers[f"rng_{name}"][ids] = values


class SimulatorStreams(CounterStreams):
    """Those that ``SuspendOnWait(rng="per_env")`` gives the rows of a simulator.

    They are part of a row's state, and are exchanged there.
    """

    def __init__(self, suspend: SuspendOnWait) -> None:
        super().__init__(suspend.device)
        self._suspend = suspend

    def write(
        self, ids: torch.Tensor, key: torch.Tensor, gamma: torch.Tensor, counter: torch.Tensor
    ) -> None:
        """Into the simulator's row state; nothing is drawn or copied for it."""
        self._suspend.set_streams(ids, key=key, gamma=gamma, counter=counter)


def episode_streams(env: TorchVectorEnv, per_episode: bool | None) -> EpisodeStreams:
    """How an env's rows are put at the start of certain episodes.

    Args:
        env: the stack.
        per_episode: whether every episode is to have a seed of its own; None: if that can be.

    Raises:
        CapabilityError: it is asked for, and can't be.
    """
    reason = _why_not(env)
    if per_episode and reason is not None:
        raise CapabilityError(f"per_episode_seeds=True needs rows that have their own: {reason}")
    if per_episode is False or reason is not None:
        return OneStream()
    adapter = env.unwrapped
    if isinstance(adapter, ReferenceEnv):
        return ReferenceStreams(adapter)
    suspend = find_wrapper(env, SuspendOnWait)
    if isinstance(adapter, SimulatorEnv) and suspend is not None:
        return SimulatorStreams(suspend)
    return SeededResets(offset_by_row=isinstance(adapter, GymnasiumVectorEnv))


def _why_not(env: TorchVectorEnv) -> str | None:
    """Why an env's episodes can't have seeds of their own, and what helps; None if they can."""
    if env.capabilities.rng != "per_env":
        return (
            f"{type(env.unwrapped).__name__} has one random stream for all rows. Where it can be "
            'suspended, SuspendOnWait(env, rng="per_env") gives each row its own.'
        )
    adapter = env.unwrapped
    if isinstance(adapter, SimulatorEnv) and not env.capabilities.snapshot:
        return f"{type(adapter).__name__} can't exchange the streams of single rows."
    if isinstance(adapter, GymnasiumVectorEnv):
        reason = why_no_row_reset(adapter.backend_env)
        return None if reason is None else f"{reason}."
    return None
