"""What a step tells of the frames that drove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.policies.chunked.transfers import uploaded_rows
from holdstep.wrappers.pipeline.events import ExecutionState, SourceEvents

if TYPE_CHECKING:
    import torch

    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline

_COUNTS = (
    "returned_frame_id",
    "submitted_frame_id",
    "returned_age_frames",
    "dropped_submissions",
    "execution_state",
    "operator_success",
)
_TIMES = ("returned_age_s", "input_age_s", "compute_duration_s")
_FLAGS = (
    "ran_synchronously",
    "frame_deadline_miss",
    "stale",
    "end_of_replay",
    "operator_discard",
    "operator_reset",
    "host_reset",
)
_STALE, _OPERATOR_RESET, _HOST_RESET = map(_FLAGS.index, ("stale", "operator_reset", "host_reset"))

_RECORDED = MappingProxyType(
    {
        "frame_id": "returned_frame_id",
        "age_frames": "returned_age_frames",
        "input_age_s": "input_age_s",
        "miss": "frame_deadline_miss",
        "execution_state": "execution_state",
    }
)


class StepInfo:
    """Makes ``info["pipeline"]`` of a step: tensors of all rows, three uploads in all.

    Args:
        num_envs: N.
        device: of the env.
        max_age_frames: of a frame that is not stale.
    """

    def __init__(self, num_envs: int, device: torch.device, *, max_age_frames: int) -> None:
        self._num_envs = num_envs
        self._device = device
        self._max_age_frames = max_age_frames

    def tensors(self, pipelines: Sequence[SourcePipeline], *, now_s: float) -> dict[str, Any]:
        """The entries of all rows; see :class:`~holdstep.wrappers.PipelinedActions`.

        Args:
            pipelines: of the sources.
            now_s: when the frames were taken [s].
        """
        num_envs = self._num_envs
        counts = np.empty((len(_COUNTS), num_envs), dtype=np.int64)
        times = np.zeros((len(_TIMES), num_envs), dtype=np.float32)
        flags = np.zeros((len(_FLAGS), num_envs), dtype=np.bool_)
        exceptions = np.full(num_envs, None, dtype=object)
        if sum(len(pipeline.rows) for pipeline in pipelines) < num_envs:
            counts.T[:] = (-1, -1, 0, 0, ExecutionState.RUNNING, -1)  # of rows without a source
        for pipeline in pipelines:
            rows = pipeline.rows_index
            counts.T[rows] = _counts(pipeline)
            times.T[rows] = _times(pipeline, now_s)
            flags.T[rows] = self._flags(pipeline)
            if not pipeline.all_begun and pipeline.frame is not None:
                flags[_STALE, rows] |= pipeline.first_frame_ids > pipeline.frame.frame_id
            flags[_OPERATOR_RESET, reset_rows(pipeline, pipeline.operator_events)] = True
            flags[_HOST_RESET, reset_rows(pipeline, pipeline.host_events)] = True
            if pipeline.exception is not None:
                exceptions[rows] = pipeline.exception
        info: dict[str, Any] = {}
        for names, values in ((_COUNTS, counts), (_TIMES, times), (_FLAGS, flags)):
            info.update(zip(names, uploaded_rows(values, self._device), strict=True))
        info["worker_exception"] = exceptions
        return info

    def _flags(self, pipeline: SourcePipeline) -> tuple[bool, ...]:
        """Those that are the same for all rows of a source."""
        age = pipeline.age_frames
        return (
            pipeline.ran_synchronously,
            age > 1,
            age > self._max_age_frames or pipeline.frame is None,
            pipeline.has_ended,
            pipeline.operator_events.discard_last,
            False,
            False,
        )


def _counts(pipeline: SourcePipeline) -> tuple[int, ...]:
    frame = pipeline.frame
    success = pipeline.operator_events.success
    return (
        -1 if frame is None else frame.frame_id,
        pipeline.submitted_id,
        pipeline.age_frames,
        pipeline.num_dropped,
        ExecutionState.STOPPED if frame is None else frame.result.state,
        -1 if success is None else success,
    )


def recorded_values(info: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """What a recorder is told of a step, from ``info["pipeline"]``."""
    return {name: info[entry] for name, entry in _RECORDED.items()}


def reset_rows(pipeline: SourcePipeline, events: SourceEvents) -> list[int]:
    """The rows that events of a source reset."""
    if not events.reset:
        return []
    return list(events.reset_env_ids or pipeline.env_ids)


def _times(pipeline: SourcePipeline, now_s: float) -> tuple[float, float, float]:
    frame = pipeline.frame
    if frame is None:
        return 0.0, 0.0, 0.0
    return now_s - frame.submitted_s, now_s - frame.input_time_s, frame.end_s - frame.begin_s
