"""Writes a run into a trace: its ticks, and its episodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from contextlib import ExitStack

    import torch

    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.policies.chunked.inference import FinishedRequest
    from holdstep.policies.chunked.schedulers.base import Scheduler
    from holdstep.timeline import TimelineWriter


class RunTrace:
    """Tells a trace what a runner does.

    Reads rewards to the host in every step, since a trace tells what an episode came to.

    Args:
        writer: of the trace.
        num_envs: number of rows.
    """

    def __init__(self, writer: TimelineWriter, num_envs: int) -> None:
        self._writer = writer
        self._returns = np.zeros(num_envs)
        self._begin_ticks = np.zeros(num_envs, dtype=np.int64)
        self._tick = 0

    def begin_episodes(self, rows: np.ndarray) -> None:
        """Rows, int64 ``[k]``, were reset: what they were in until then has not ended."""
        self._returns[rows] = 0.0
        self._begin_ticks[rows] = self._tick

    def inference(self, finished: FinishedRequest) -> None:
        """An inference has ended, well or not."""
        self._writer.inference(
            finished.request.env_ids.tolist(),
            submitted_s=finished.submitted_s,
            begin_s=finished.begin_s,
            end_s=finished.end_s,
            error=None if finished.error is None else str(finished.error),
        )

    def step(
        self,
        active_mask: np.ndarray,
        *,
        begin_s: float,
        end_s: float,
        ages: np.ndarray,
        parked_mask: np.ndarray,
        reward: torch.Tensor,
        ended_ids: np.ndarray,
        episode_ids: np.ndarray,
    ) -> None:
        """A step of the env was made.

        Args:
            active_mask: rows that advanced, bool ``[N]``.
            begin_s: when it began [s].
            end_s: when it ended [s].
            ages: of the observations behind the rows' actions [env steps], int64 ``[N]``.
            parked_mask: rows that are parked, bool ``[N]``.
            reward: float32 ``[N]``, 0 for rows that did not advance.
            ended_ids: rows whose episode ended, int64 ``[k]``.
            episode_ids: the number of each row's episode, before it ended, int64 ``[N]``.
        """
        self._writer.tick(
            active_mask,
            begin_s=begin_s,
            end_s=end_s,
            staleness_ticks=ages,
            parked_mask=parked_mask if parked_mask.any() else None,
        )
        self._returns += reward.cpu().numpy()
        for row in ended_ids.tolist():
            self._writer.episode(
                row,
                int(episode_ids[row]),
                begin_tick=int(self._begin_ticks[row]),
                end_tick=self._tick,
                episode_return=float(self._returns[row]),
            )
        self._tick += 1
        self.begin_episodes(ended_ids)


def open_trace(
    timeline: str | Path | TimelineWriter | None,
    env: TorchVectorEnv,
    scheduler: Scheduler,
    *,
    execute: int,
    clock: Callable[[], float],
    resources: ExitStack,
) -> RunTrace | None:
    """What a runner writes its run into, or None.

    Args:
        timeline: a path, a writer, which stays its owner's, or None.
        env: whose rows they are.
        scheduler: of the run.
        execute: actions of each chunk that are executed.
        clock: time [s].
        resources: what closes a file that was opened here.
    """
    if timeline is None:
        return None
    if isinstance(timeline, str | Path):
        from holdstep.timeline import TimelineWriter

        metadata = {
            "task": env.unwrapped.task_id,
            "scheduler": type(scheduler).__name__,
            "execute": execute,
        }
        timeline = TimelineWriter(timeline, num_envs=env.num_envs, metadata=metadata, clock=clock)
        resources.callback(timeline.close)
    return RunTrace(timeline, env.num_envs)
