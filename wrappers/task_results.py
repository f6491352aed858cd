"""What ``run_per_env`` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord(Generic[T]):
    """One episode.

    Attributes:
        env_id: the row that ran it.
        episode: its number, in the order in which episodes were started.
        return_value: what the coroutine returned.
        episode_return: summed rewards.
        length: env steps; those of other rows that passed meanwhile are not counted.
        terminated: whether the task ended it.
        truncated: whether the time limit did. Neither: the coroutine gave it up.
    """

    env_id: int
    episode: int
    return_value: T
    episode_return: float
    length: int
    terminated: bool
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class PerEnvResult(Generic[T]):
    """All episodes of a run.

    Attributes:
        episodes: in the order in which they were started.
        num_steps: how often the batch was stepped.
    """

    episodes: tuple[EpisodeRecord[T], ...]
    num_steps: int

    @property
    def return_values(self) -> list[T]:
        """What the coroutines returned, in the order in which they were started."""
        return [record.return_value for record in self.episodes]
