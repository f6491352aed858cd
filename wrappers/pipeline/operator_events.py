"""What operators ask for, done in the env."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch

from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.pipeline.step_info import reset_rows
from holdstep.wrappers.record.recorder import RecordEpisodes

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, TorchVectorEnv
    from holdstep.wrappers.pipeline.frame import OperatorNews
    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline


class OperatorEvents:
    """Applies the operator's events of all sources, each once.

    In one frame, a mark is of the episode that the reset beside it ends; so is a wish to do the
    demonstration again. Without a reset, that wish is of the last episode that was finished.

    Args:
        env: the stack inside, in which there may be a :class:`~holdstep.wrappers.RecordEpisodes`.
        pipelines: of the sources.
    """

    def __init__(self, env: TorchVectorEnv, pipelines: Sequence[SourcePipeline]) -> None:
        self._env = env
        self._pipelines = pipelines
        self._recorder = find_wrapper(env, RecordEpisodes)

    def apply(self) -> Obs | None:
        """Apply what has come in.

        Returns:
            Observations of all rows, if any were reset.
        """
        if not self._have_come():
            return None
        obs = None
        taken = [pipeline.take_operator_news() for pipeline in self._pipelines]
        # Frame by frame: what follows a reset is of the next episode.
        for frames in zip_longest(*taken):
            rows: set[int] = set()
            for pipeline, news in zip(self._pipelines, frames, strict=True):
                if news is not None:
                    rows.update(self._apply(pipeline, news))
            if rows:
                ids = torch.tensor(sorted(rows), dtype=torch.int64, device=self._env.device)
                obs, _ = self._env.reset(options={"env_ids": ids})
        return obs

    def _have_come(self) -> bool:
        for pipeline in self._pipelines:  # noqa: SIM110  (asked several times in a step)
            if pipeline.unapplied:
                return True
        return False

    def _apply(self, pipeline: SourcePipeline, news: OperatorNews) -> list[int]:
        """Apply all but the reset; the rows that are to be reset."""
        events = news.events
        rows = reset_rows(pipeline, events)
        if self._recorder is not None:
            if events.success is not None:
                self._recorder.mark(rows or pipeline.env_ids, events.success)
            if events.discard_last and rows:
                self._recorder.discard(rows)
            elif events.discard_last:
                self._recorder.discard_last(pipeline.env_ids)
        if rows:
            pipeline.operator_reset(rows, news.frame_id)
        return rows
