"""The host's side of one source: what it was asked, what came back, and how old that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from holdstep.wrappers.pipeline.error_text import source_error
from holdstep.wrappers.pipeline.events import NO_EVENTS, ExecutionState, SourceEvents
from holdstep.wrappers.pipeline.frame import Failure, Frame, OperatorNews, Submission
from holdstep.wrappers.pipeline.source import SourceRequest
from holdstep.wrappers.pipeline.worker_stream import nothing

if TYPE_CHECKING:
    import torch

    from holdstep.wrappers.pipeline.groups import RowsOfSource
    from holdstep.wrappers.pipeline.options import PipelineOptions
    from holdstep.wrappers.pipeline.worker import Worker


class SourcePipeline:
    """Numbers the frames of a source and keeps the books of them; used from one thread.

    What is noted for the step under way lasts until :meth:`end_step`, also if that step raises and
    another one takes its place.

    Args:
        group: the source and its rows.
        worker: where it computes.
        options: of the wrapper.

    Attributes:
        key: under which the user knows it.
        env_ids: its rows.
        rows: the same, int64 ``[k]``.
        rows_index: the same as an index of all rows' arrays, the quickest that there is.
        worker: where it computes.
        frame: the newest frame; None before the first.
        age_frames: steps that the rows have made since it was asked for; 0 without one.
        all_begun: it belongs to the current episodes of all rows.
        has_ended: there will be no further frames, unless the host starts over.
        is_still: it says that nothing is to be applied.
        playable: the newest frame whose actions may be applied, though perhaps no longer.
        first_frame_ids: the first frame of each row's episode, int64 ``[k]``; earlier ones are of
            another one.
        submitted_id: of the last request; -1 before the first.
        num_row_steps: steps that the rows have made.
        failure: why the source does not run; None while it does.
        num_restarts: how often it was started anew because it had failed.
        num_dropped: requests that were replaced in this step.
        host_events: that the source was told of, as learned in this step.
        operator_events: that were applied in this step.
        unapplied: what the operator did besides, in its order.
        exception: what it raised, as noticed in this step.
    """

    def __init__(self, group: RowsOfSource, worker: Worker, options: PipelineOptions) -> None:
        self.key = group.key
        self.name = group.name
        self.env_ids = group.env_ids
        self.rows = np.array(group.env_ids, dtype=np.int64)
        self.rows_index = _index(self.rows)
        self.source = group.source
        self.worker = worker
        self.frame: Frame | None = None
        self.age_frames = 0
        self.all_begun = self.has_ended = self.is_still = False
        self.playable: Frame | None = None
        self.first_frame_ids = np.zeros(len(group.env_ids), dtype=np.int64)
        self.submitted_id = -1
        self.num_row_steps = 0
        self.failure: Failure | None = None
        self.num_restarts = 0
        self.num_dropped = 0
        self.host_events = NO_EVENTS
        self.operator_events = NO_EVENTS
        self.unapplied: list[OperatorNews] = []
        self.exception: BaseException | None = None
        self._options = options
        self._positions = {row: index for index, row in enumerate(group.env_ids)}
        self._untold = NO_EVENTS  # of the host, for the next request
        self._restarted = False  # since the last request
        self._last_begun = 0  # the newest of first_frame_ids
        self._applied_id = -1
        self._submitted = False  # in this step

    @property
    def uses_obs(self) -> bool:
        """Whether requests carry observations."""
        return bool(getattr(self.source, "uses_obs", False))

    @property
    def is_lossless(self) -> bool:
        """Whether each step waits for its own frame."""
        return bool(getattr(self.source, "lossless", False))

    @property
    def ran_synchronously(self) -> bool:
        """Whether the newest frame was asked for in this very step."""
        return (
            self._submitted
            and self.frame is not None
            and (self.frame.frame_id == self.submitted_id)
        )

    @property
    def is_done(self) -> bool:
        """Whether the last of all frames is there."""
        return self.has_ended and not self._is_awaited

    @property
    def has_work(self) -> bool:
        """Whether a request of the next step would be worked on."""
        return self.failure is None and (
            not self.has_ended or self._restarted or bool(self._untold)
        )

    @property
    def wants_request(self) -> bool:
        """Whether this step is to ask for a frame.

        Not of a lossless source whose last one is still to be applied: the newer one would take its
        place.
        """
        if not self.has_work or not self.is_lossless or self.must_ask:
            return self.has_work
        return not self._is_awaited and (self.is_still or self._applied_id == self.submitted_id)

    @property
    def must_ask(self) -> bool:
        """Whether rows have begun episodes for which no frame was asked yet."""
        return self.failure is None and self._last_begun > self.submitted_id

    @property
    def _is_awaited(self) -> bool:
        return self.submitted_id != (-1 if self.frame is None else self.frame.frame_id)

    def _sees_env(self) -> bool:
        """Whether frames rest on what was when they were asked for."""
        inputs = self._options.external_inputs
        return (self.uses_obs or inputs is not None) and not self.is_lossless

    def tell(self, events: SourceEvents) -> None:
        """Have the next request carry these events of the host."""
        self._untold = self._untold.merged_with(events)

    def begin_episodes(self, env_ids: set[int]) -> None:
        """The host has reset rows; frames that were asked for before are of their last episodes."""
        mine = sorted(env_ids & self._positions.keys())
        if not mine or self.submitted_id < 0:  # before the first request, nothing has begun
            return
        self._last_begun = self.submitted_id + 1
        self.first_frame_ids[[self._positions[row] for row in mine]] = self._last_begun
        self._derive()
        ids = () if len(mine) == len(self.env_ids) else tuple(mine)
        self.tell(SourceEvents(reset=True, reset_env_ids=ids))

    def operator_reset(self, env_ids: Sequence[int], frame_id: int) -> None:
        """The operator has reset rows of this source by a frame.

        That frame is the first of the new episodes, since the source knows of it; unless it was
        made of what the host saw in the old ones, as may be those that were asked for since. What
        is lossless, or at its end, makes no other.
        """
        first = frame_id
        if self._sees_env() and not self.has_ended:
            first = self.submitted_id + 1
        mine = [self._positions[row] for row in env_ids]
        self.first_frame_ids[mine] = np.maximum(self.first_frame_ids[mine], first)
        self._last_begun = max(self._last_begun, first)
        self._derive()

    def submit(
        self,
        *,
        obs: dict[str, torch.Tensor] | None,
        external_inputs: Mapping[str, Any],
        sim_time_s: float,
        now_s: float,
    ) -> None:
        """Ask for the next frame."""
        events, self._untold = self._untold, NO_EVENTS
        self.submitted_id += 1
        self._submitted = True
        self._restarted = False
        request = SourceRequest(
            frame_id=self.submitted_id,
            env_ids=self.env_ids,
            obs=obs,
            external_inputs=external_inputs,
            host_events=events,
            sim_time_s=sim_time_s,
            real_time_s=now_s,
        )
        stream = self.worker.computing.stream
        submission = Submission(
            request=request,
            submitted_s=now_s,
            num_row_steps=self.num_row_steps,
            take_over=nothing if stream is None else stream.hand_over((obs, external_inputs)),
        )
        self.num_dropped += self.worker.submit(submission)

    def collect(self) -> None:
        """Look at what the worker has done.

        Raises:
            SourceError: the source has failed, and is neither to be restarted nor to be left alone.
        """
        while True:
            news = self.worker.collect()
            if news.frame is not self.frame:
                self._take(news.frame)
            if news.host_events:
                self.host_events = self.host_events.merged_with(news.host_events)
            self.unapplied += news.operator_news
            if news.failure is None:
                return
            if not self._handle(news.failure):
                return

    def take_operator_news(self) -> Sequence[OperatorNews]:
        """What the operator did that was not applied yet; it counts as applied from now on."""
        taken, self.unapplied = self.unapplied, []
        for news in taken:
            self.operator_events = self.operator_events.merged_with(news.events)
        return taken

    def advance(self) -> None:
        """Rows of this source have made a step, with its newest frame."""
        self.num_row_steps += 1
        if self.frame is not None:
            self._applied_id = self.frame.frame_id
            self._derive()

    def end_step(self) -> None:
        """What was noted for this step has been told."""
        self.num_dropped = 0
        self._submitted = False
        self.host_events = self.operator_events = NO_EVENTS
        self.exception = None if self.failure is None else self.failure.error

    def restart(self) -> None:
        """Start the source anew, usually after a failure."""
        self.failure = None
        self._restarted = True
        self.worker.restart()

    def _take(self, frame: Frame | None) -> None:
        self.frame = frame
        self._derive()
        if frame is None:
            return
        stream = self.worker.computing.stream
        if stream is not None:
            stream.taken((frame.actions, frame.result.context))
        if frame.actions is None:
            return
        if frame.result.state == ExecutionState.RUNNING:
            self.playable = frame

    def _derive(self) -> None:
        """What follows from the newest frame, which a step asks for many times."""
        frame = self.frame
        if frame is None:
            self.age_frames = 0
            self.all_begun = self.has_ended = self.is_still = False
            return
        self.age_frames = self.num_row_steps - frame.num_row_steps
        self.all_begun = frame.frame_id >= self._last_begun
        self.has_ended = frame.result.end_of_replay
        self.is_still = (
            frame.actions is None
            or frame.result.state != ExecutionState.RUNNING
            or (self.has_ended and frame.frame_id == self._applied_id)
        )

    def _handle(self, failure: Failure) -> bool:
        """Do what is to be done about a failure; whether there may be something to collect then."""
        options = self._options
        self.failure, self.exception = failure, failure.error
        if options.on_error == "suspend":
            return False
        if options.on_error == "restart" and self.num_restarts < options.max_restarts:
            self.num_restarts += 1
            self.restart()
            return True
        raise source_error(self, failure) from failure.error


def _index(rows: np.ndarray) -> slice | np.ndarray:
    in_order = np.arange(rows[0], rows[0] + len(rows))
    return slice(int(rows[0]), int(rows[0]) + len(rows)) if (rows == in_order).all() else rows
