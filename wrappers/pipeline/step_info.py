"""What a step tells of the frames that drove it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from holdstep.envs.lazy_dict import LazyDict
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
_EXCEPTION = "worker_exception"
_NAMES = (*_COUNTS, *_TIMES, *_FLAGS, _EXCEPTION)
_OF_NO_SOURCE = (-1, -1, 0, 0, ExecutionState.RUNNING, -1)

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
    """Makes ``info["pipeline"]`` of a step.

    A step only notes some numbers of each source. Tensors of all rows are made of them when
    somebody looks, which is most of the work and mostly not done: three uploads, for the counts,
    the times and the flags.

    Args:
        num_envs: N.
        device: of the env.
        max_age_frames: of a frame that is not stale.
    """

    def __init__(self, num_envs: int, device: torch.device, *, max_age_frames: int) -> None:
        self._num_envs = num_envs
        self._device = device
        self._max_age_frames = max_age_frames

    def of_step(self, pipelines: Sequence[SourcePipeline], *, now_s: float) -> LazyDict[Any]:
        """The entries of all rows; see :class:`~holdstep.wrappers.PipelinedActions`.

        Args:
            pipelines: of the sources, as they are in this step.
            now_s: when the frames were taken [s].
        """
        noted = [self._noted(pipeline, now_s) for pipeline in pipelines]
        return LazyDict(_NAMES, {}, functools.partial(self._made, noted))

    def _noted(self, pipeline: SourcePipeline, now_s: float) -> _OfSource:
        frame, age = pipeline.frame, pipeline.age_frames
        told = pipeline.operator_events
        if frame is None:
            frame_id, state, times = -1, ExecutionState.STOPPED, (0.0, 0.0, 0.0)
        else:
            frame_id, state = frame.frame_id, frame.result.state
            times = (
                now_s - frame.submitted_s,
                now_s - frame.input_time_s,
                frame.end_s - frame.begin_s,
            )
        is_stale = age > self._max_age_frames or frame is None
        ended = pipeline.has_ended
        success = -1 if told.success is None else told.success
        return _OfSource(
            pipeline.rows_index,
            (frame_id, pipeline.submitted_id, age, pipeline.num_dropped, state, success),
            times,
            (pipeline.ran_synchronously, age > 1, is_stale, ended, told.discard_last, False, False),
            None if pipeline.all_begun else pipeline.first_frame_ids > frame_id,
            reset_rows(pipeline, told),
            reset_rows(pipeline, pipeline.host_events),
            pipeline.exception,
        )

    def _made(self, noted: Sequence[_OfSource], name: str) -> dict[str, Any]:
        """The tensors that come with one of this name."""
        if name == _EXCEPTION:
            return {name: self._exceptions(noted)}
        names: tuple[str, ...]
        if name in _COUNTS:
            names, values = _COUNTS, self._counts(noted)
        elif name in _TIMES:
            names, values = _TIMES, self._times(noted)
        else:
            names, values = _FLAGS, self._flags(noted)
        return dict(zip(names, uploaded_rows(values, self._device), strict=True))

    def _counts(self, noted: Sequence[_OfSource]) -> np.ndarray:
        counts = np.empty((len(_COUNTS), self._num_envs), dtype=np.int64)
        counts.T[:] = _OF_NO_SOURCE
        for source in noted:
            counts.T[source.rows] = source.counts
        return counts

    def _times(self, noted: Sequence[_OfSource]) -> np.ndarray:
        times = np.zeros((len(_TIMES), self._num_envs), dtype=np.float32)
        for source in noted:
            times.T[source.rows] = source.times
        return times

    def _flags(self, noted: Sequence[_OfSource]) -> np.ndarray:
        flags = np.zeros((len(_FLAGS), self._num_envs), dtype=np.bool_)
        for source in noted:
            flags.T[source.rows] = source.flags
            if source.not_begun is not None:
                flags[_STALE, source.rows] |= source.not_begun
            flags[_OPERATOR_RESET, source.operator_resets] = True
            flags[_HOST_RESET, source.host_resets] = True
        return flags

    def _exceptions(self, noted: Sequence[_OfSource]) -> np.ndarray:
        exceptions = np.full(self._num_envs, None, dtype=object)
        for source in noted:
            if source.exception is not None:
                exceptions[source.rows] = source.exception
        return exceptions


class _OfSource(NamedTuple):
    """What a step notes of one source; without its frame, whose context may be large.

    Attributes:
        rows: an index of all rows' arrays.
        counts: in the order of ``_COUNTS``.
        times: in the order of ``_TIMES``.
        flags: in the order of ``_FLAGS``, those that are the same for all rows of a source.
        not_begun: bool ``[k]``, rows whose episode the frame does not belong to; None for none.
        operator_resets: rows that the operator has reset.
        host_resets: rows whose reset the source was told of.
        exception: what the source raised.
    """

    rows: slice | np.ndarray
    counts: tuple[int, ...]
    times: tuple[float, float, float]
    flags: tuple[bool, ...]
    not_begun: np.ndarray | None
    operator_resets: list[int]
    host_resets: list[int]
    exception: BaseException | None


def recorded_values(info: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """What a recorder is told of a step, from ``info["pipeline"]``."""
    return {name: info[entry] for name, entry in _RECORDED.items()}


def reset_rows(pipeline: SourcePipeline, events: SourceEvents) -> list[int]:
    """The rows that events of a source reset."""
    if not events.reset:
        return []
    return list(events.reset_env_ids or pipeline.env_ids)
