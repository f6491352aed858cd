"""What operators ask for, done in the env."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from holdstep.errors import SourceError
from holdstep.wrappers.base import find_wrapper
from holdstep.wrappers.pipeline.step_info import reset_rows
from holdstep.wrappers.record.recorder import RecordEpisodes
from holdstep.wrappers.waits import shortened

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs, TorchVectorEnv
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

        Raises:
            SourceError: a source would reset rows of others.
        """
        rows: set[int] = set()
        for pipeline in self._pipelines:
            events = pipeline.take_operator_events()
            if not events:
                continue
            mine = reset_rows(pipeline, events)
            others = sorted(set(mine) - set(pipeline.env_ids))
            if others:
                raise SourceError(
                    f"Source {pipeline.name} resets rows {shortened(others)}, which it does not "
                    f"drive; its rows are {shortened(pipeline.env_ids)}.",
                    source=pipeline.name,
                    env_ids=pipeline.env_ids,
                )
            rows.update(mine)
            if self._recorder is None:
                continue
            if events.success is not None:
                self._recorder.mark(mine or pipeline.env_ids, events.success)
            if events.discard_last and mine:
                self._recorder.discard(mine)
            elif events.discard_last:
                self._recorder.discard_last(pipeline.env_ids)
        if not rows:
            return None
        ids = torch.tensor(sorted(rows), dtype=torch.int64, device=self._env.device)
        obs, _ = self._env.reset(options={"env_ids": ids})
        return obs
