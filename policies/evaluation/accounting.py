"""Which row runs which of the episodes that count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from holdstep.distributed import Rank
from holdstep.errors import ConfigError

IDLE = -1


class EpisodeAccounts:
    """Hands out the numbers of the first n episodes in the order in which they start.

    Counted are the episodes that *start* first, all of them to their end, and no later one. The
    first n to *end* would be biased: among the episodes that run at the same time, short ones end
    first and make room for more short ones, so that a task whose successes end early looks easier
    than it is.

    Of several processes, each takes every ``world_size``-th number, whatever the others do: which
    episodes count, and which of them a process runs, is settled before any has started.

    Attributes:
        num_episodes: how many count; of several processes, this one's.
        num_started: how many of those have started.
        num_finished: how many of those have ended.
        episode_of_row: the episode that each row runs, int64 ``[N]``; -1 for rows whose episode
            does not count.

    Args:
        num_envs: rows.
        num_episodes: episodes that count, of all processes.
        rank: this process.

    >>> accounts = EpisodeAccounts(num_envs=2, num_episodes=3)
    >>> accounts.start([0, 1])
    [0, 1]
    >>> accounts.finish(1)
    1
    >>> accounts.start([1]), accounts.start([0])
    ([2], [])
    """

    def __init__(self, num_envs: int, num_episodes: int, rank: Rank | None = None) -> None:
        if isinstance(num_episodes, bool) or not isinstance(num_episodes, int) or num_episodes < 1:
            raise ConfigError(
                f"num_episodes must be an integer of at least 1, got {num_episodes!r}."
            )
        self._rank = rank or Rank()
        self.num_episodes = len(self._rank.numbers(num_episodes))
        self.num_started = 0
        self.num_finished = 0
        self.episode_of_row = np.full(num_envs, IDLE, dtype=np.int64)

    @property
    def all_finished(self) -> bool:
        """Whether every episode that counts has ended."""
        return self.num_finished == self.num_episodes

    @property
    def running_mask(self) -> np.ndarray:
        """Rows that run an episode that counts, bool ``[N]``."""
        mask: np.ndarray = self.episode_of_row != IDLE
        return mask

    def start(self, rows: Sequence[int]) -> list[int]:
        """Episodes begin in rows that run none; the first of the rows get those that are left.

        Args:
            rows: in the order in which they get their episodes.

        Returns:
            The numbers of the episodes of the first rows; as many as are still needed.
        """
        first = self.num_started
        ordinals = range(first, min(first + len(rows), self.num_episodes))
        episodes = [self._rank.number + ordinal * self._rank.world_size for ordinal in ordinals]
        self.episode_of_row[list(rows[: len(episodes)])] = episodes
        self.num_started += len(episodes)
        return episodes

    def add_one(self) -> None:
        """One more episode is to be run, in the stead of one that does not serve its purpose."""
        self.num_episodes += 1

    def finish(self, row: int) -> int:
        """The episode of a row has ended: its number."""
        episode = int(self.episode_of_row[row])
        self.episode_of_row[row] = IDLE
        self.num_finished += 1
        return episode
