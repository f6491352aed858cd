"""Observations for sources, in memory of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from holdstep.policies.chunked.observed_rows import ObservedRows

if TYPE_CHECKING:
    from holdstep.envs.contract import Obs
    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline


class ObservedForSources:
    """Keeps what each source that looks at observations will be given next.

    Copied as soon as it is returned, since the caller may write over it. What was given to a source
    is that source's, and is not given again.

    Args:
        pipelines: of the sources.
        for_hold: whether ``hold_action`` is computed from observations.
    """

    def __init__(self, pipelines: Sequence[SourcePipeline], *, for_hold: bool) -> None:
        self._pipelines = pipelines
        self._for_hold = for_hold
        self._next: dict[int, Obs] = {}
        self._held: dict[int, Obs] = {}

    def update(self, obs: Obs) -> None:
        """Rows see this now."""
        looking = [entry for entry in enumerate(self._pipelines) if entry[1].uses_obs]
        if not looking and not self._for_hold:
            return
        with torch.inference_mode(False):
            for index, pipeline in looking:
                keys = getattr(pipeline.source, "obs_keys", None)
                self._next[index] = _rows(obs, pipeline, keys)
            if self._for_hold:
                for index, pipeline in enumerate(self._pipelines):
                    self._held[index] = _rows(obs, pipeline, None)

    @property
    def is_complete(self) -> bool:
        """Whether there is something to give to every source that looks at observations."""
        looking = [index for index, pipeline in enumerate(self._pipelines) if pipeline.uses_obs]
        return self._next.keys() >= set(looking)

    def give(self, index: int) -> Obs | None:
        """For the request of a source; None if it does not look at observations."""
        return self._next.pop(index, None)

    def of_held(self, index: int) -> Obs:
        """For ``hold_action``, if that is a function."""
        return self._held.get(index, {})


def _rows(obs: Obs, pipeline: SourcePipeline, keys: Sequence[str] | None) -> Obs:
    observed = ObservedRows(keys)
    observed.update(obs)
    return observed.now(pipeline.rows)
