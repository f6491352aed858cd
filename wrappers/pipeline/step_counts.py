"""What sources have done over all steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline


@dataclass(frozen=True, kw_only=True)
class PipelineStats:
    """How sources are doing, since the start.

    Shares and means are over steps of sources: with two sources, a step is two.

    Attributes:
        num_steps: calls of ``step``, those included in which no row advanced.
        num_frames: frames that steps found; one that is there for several counts once.
        misses: steps whose newest frame was more than a step old, whether they did it or had their
            rows stand still.
        miss_share: the same, of all.
        dropped_submissions: requests that were replaced by newer ones.
        suspended_share: of rows and steps, where the row stood still.
        mean_age_frames: of the newest frames [steps].
        mean_input_age_s: of what they rest on [s].
        mean_compute_s: how long a frame took [s].
    """

    num_steps: int
    num_frames: int
    misses: int
    miss_share: float
    dropped_submissions: int
    suspended_share: float
    mean_age_frames: float
    mean_input_age_s: float
    mean_compute_s: float


class StepCounts:
    """Adds up steps."""

    def __init__(self) -> None:
        self._num_steps = 0
        self._num_found = 0
        self._num_frames = 0
        self._misses = 0
        self._dropped = 0
        self._row_steps = 0
        self._held_row_steps = 0
        self._age_frames = 0
        self._input_age_s = 0.0
        self._compute_s = 0.0
        self._last_ids: dict[int, int] = {}  # and not the frames: they would be kept alive

    def add(
        self, pipelines: Sequence[SourcePipeline], held: Collection[int] | None, now_s: float
    ) -> None:
        """A step is made.

        Args:
            pipelines: of the sources, as the step finds them.
            held: rows that stand still in it; None for all.
            now_s: the time [s].
        """
        self._num_steps += 1
        num_rows = 0
        for index, pipeline in enumerate(pipelines):
            num_rows += len(pipeline.rows)
            self._dropped += pipeline.num_dropped
            frame = pipeline.frame
            if frame is None:
                continue
            self._num_found += 1
            self._misses += pipeline.age_frames > 1
            self._age_frames += pipeline.age_frames
            self._input_age_s += now_s - frame.input_time_s
            if self._last_ids.get(index) != frame.frame_id:
                self._last_ids[index] = frame.frame_id
                self._num_frames += 1
                self._compute_s += frame.end_s - frame.begin_s
        self._row_steps += num_rows
        self._held_row_steps += num_rows if held is None else len(held)

    def stats(self) -> PipelineStats:
        """What was counted."""
        found, frames = max(1, self._num_found), max(1, self._num_frames)
        return PipelineStats(
            num_steps=self._num_steps,
            num_frames=self._num_frames,
            misses=self._misses,
            miss_share=self._misses / found,
            dropped_submissions=self._dropped,
            suspended_share=self._held_row_steps / max(1, self._row_steps),
            mean_age_frames=self._age_frames / found,
            mean_input_age_s=self._input_age_s / found,
            mean_compute_s=self._compute_s / frames,
        )
