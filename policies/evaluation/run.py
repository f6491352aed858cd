"""The loop of an evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from holdstep.errors import EvaluationError
from holdstep.policies.evaluation.result import EpisodeResult
from holdstep.policies.evaluation.streams import episode_seed
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    from holdstep.policies.evaluation.accounting import EpisodeAccounts
    from holdstep.policies.evaluation.drivers import EpisodeDriver
    from holdstep.policies.evaluation.meter import EpisodeMeter, Readout
    from holdstep.policies.evaluation.streams import EpisodeStreams

_MOST_IDLE_STEPS = 10_000
"""Steps in which no row that counts advances, before that is an error."""


class EvaluationRun:
    """Runs the first n episodes that start to their ends; for one run.

    Attributes:
        num_steps: how often the env was stepped.

    Args:
        driver: who steps the env.
        accounts: which row runs which episode.
        meter: sums up rewards, lengths and successes.
        streams: puts rows at the start of certain episodes.
        seed: of the run.
        max_steps: the longest that an episode may be [env steps].
        instructions: what an episode is to do, from its number; None for nothing.
        on_episode: called with an episode that has ended, before its row starts another.
        clock: seconds, for the episodes' wall times.
    """

    def __init__(
        self,
        *,
        driver: EpisodeDriver,
        accounts: EpisodeAccounts,
        meter: EpisodeMeter,
        streams: EpisodeStreams,
        seed: int,
        max_steps: int,
        instructions: Callable[[int], str] | None,
        on_episode: Callable[[EpisodeResult], object],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._driver = driver
        self._accounts = accounts
        self._meter = meter
        self._streams = streams
        self._seed = seed
        self._max_steps = max_steps
        self._instructions = instructions
        self._on_episode = on_episode
        self._clock = clock
        self._finished: list[EpisodeResult] = []
        self._started_s: dict[int, float] = {}
        self._texts: dict[int, str] = {}
        self._num_idle_steps = 0
        self.num_steps = 0

    @property
    def episodes(self) -> tuple[EpisodeResult, ...]:
        """Those that have ended, in the order in which they were started."""
        return tuple(sorted(self._finished, key=lambda episode: episode.episode))

    @torch.no_grad()
    def run(self) -> None:
        """Run all episodes. Whatever happens, no row is left parked.

        Raises:
            EvaluationError: an episode does not end, or no row advances.
        """
        try:
            self._driver.reset(self._seed)
            self._start(range(len(self._accounts.episode_of_row)))
            while not self._accounts.all_finished:
                readout = self._meter.add(self._driver.step())
                self.num_steps += 1
                self._account(readout)
        except Exception as error:
            error.add_note(
                f"In an evaluation, after {self.num_steps} steps; {self._accounts.num_finished} of "
                f"{self._accounts.num_episodes} episodes had ended."
            )
            raise
        finally:
            self._driver.close()

    def _start(self, rows: Sequence[int]) -> None:
        """Rows that were just reset begin the next episodes, or are parked if none are left."""
        episodes = self._accounts.start(rows)
        starting, idle = list(rows[: len(episodes)]), list(rows[len(episodes) :])
        if starting:
            seeds = [episode_seed(self._seed, episode) for episode in episodes]
            self._streams.begin(starting, seeds, self._driver.reset_rows)
            texts = None
            if self._instructions is not None:
                texts = [self._instructions(episode) for episode in episodes]
                self._texts.update(zip(episodes, texts, strict=True))
            self._driver.begin_episodes(starting, episodes, texts)
            self._started_s.update(dict.fromkeys(episodes, self._clock()))
        if idle:
            self._driver.park(idle)

    def _account(self, readout: Readout) -> None:
        running = self._accounts.running_mask
        ended = np.flatnonzero(readout.done & running).tolist()
        for row in ended:
            self._finish(row, readout)
        if ended and not self._accounts.all_finished:
            self._start(ended)
        self._check_progress(readout, running & ~readout.done)
        advanced = bool((readout.active & running).any())
        self._num_idle_steps = 0 if advanced else self._num_idle_steps + 1

    def _finish(self, row: int, readout: Readout) -> None:
        episode = self._accounts.finish(row)
        has_seed = self._streams.scope == "episode"
        result = EpisodeResult(
            episode=episode,
            env_id=row,
            seed=episode_seed(self._seed, episode) if has_seed else None,
            episode_return=float(readout.returns[row]),
            length=int(readout.lengths[row]),
            success=bool(readout.success[row]) if readout.reported[row] else None,
            terminated=bool(readout.terminated[row]),
            truncated=bool(readout.truncated[row]),
            instruction=self._texts.pop(episode, None),
            wall_time_s=self._clock() - self._started_s.pop(episode),
        )
        self._finished.append(result)
        self._on_episode(result)

    def _check_progress(self, readout: Readout, running_mask: np.ndarray) -> None:
        too_long = np.flatnonzero(running_mask & (readout.lengths >= self._max_steps)).tolist()
        if too_long:
            lengths = readout.lengths[too_long].tolist()
            raise EvaluationError(
                f"Episodes of rows {shortened(too_long)} have not ended after "
                f"{shortened(lengths)} env steps; at most {self._max_steps} are allowed. If longer "
                "episodes are right, raise max_steps; otherwise give the env a time limit (play "
                "configurations often have none)."
            )
        if self._num_idle_steps >= _MOST_IDLE_STEPS:
            raise EvaluationError(
                f"For {self._num_idle_steps} steps, none of rows "
                f"{shortened(np.flatnonzero(running_mask).tolist())} has advanced. Does something "
                "else suspend them? Lengths so far: "
                f"{shortened(readout.lengths[running_mask].tolist())}."
            )
