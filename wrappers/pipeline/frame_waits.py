"""How long a step waits for frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

    from holdstep.wrappers.pipeline.options import PipelineOptions
    from holdstep.wrappers.pipeline.source_pipeline import SourcePipeline
    from holdstep.wrappers.waits import WaitClock

_LOOK_AGAIN_S = 60.0


class FrameWaits:
    """Lets a step wait for the frames of all sources at once.

    A step waits

    - until every source has been started;
    - for the very first frame of a source, and for each frame of a lossless one;
    - for the first frame of an episode, where the row can't be held and has no ``hold_action``:
      there is no other action that would be of this episode;
    - for a frame that is fresh enough, as long as the options say;
    - for a frame that the pacing says is about to be there.

    Args:
        pipelines: of the sources.
        options: of the wrapper.
        clock: time.
        news: set by workers whenever there is something to look at.
        can_hold: whether rows can stand still.
    """

    def __init__(
        self,
        pipelines: Sequence[SourcePipeline],
        options: PipelineOptions,
        clock: WaitClock,
        news: threading.Event,
        *,
        can_hold: bool,
    ) -> None:
        self._pipelines = pipelines
        self._options = options
        self._clock = clock
        self._news = news
        self._can_be_without = can_hold or options.hold_action is not None

    def wait(self) -> bool:
        """Wait, after this step's requests were submitted, as long as it is called for.

        Of a source that is not waited for, nothing is taken: its frame of this very step, if that
        is finished already, is left for the next one. So a source that is always quicker than a
        step is always one step behind, and what happens does not depend on who wins a race.

        Returns:
            Whether there was something to wait for; else nothing has come in.

        Raises:
            SourceError: one of them has failed.
        """
        begin_s = self._clock.now()
        waiting = []
        for pipeline in self._pipelines:
            paced_s = self._paced_s(pipeline, begin_s)
            if max(paced_s, self._budget_s(pipeline)) > 0:
                waiting.append((pipeline, pipeline.frame, begin_s + paced_s))
        has_waited = bool(waiting)
        while waiting:
            self._news.clear()  # before the look, so that what comes after it ends the pause
            latest_s = -math.inf
            now_s = self._clock.now()
            still_waiting = []
            for entry in waiting:
                pipeline, first, paced_until_s = entry
                pipeline.collect()
                until_s = begin_s + self._budget_s(pipeline)
                if pipeline.frame is first:
                    until_s = max(until_s, paced_until_s)
                if until_s > now_s:
                    still_waiting.append(entry)
                    latest_s = max(latest_s, until_s)
            waiting = still_waiting
            if waiting:
                self._pause(min(latest_s - now_s, _LOOK_AGAIN_S))
        return has_waited

    def until(
        self,
        condition: Callable[[], bool],
        timeout_s: float | None = None,
        *,
        look_again_s: float = _LOOK_AGAIN_S,
    ) -> bool:
        """Wait until a condition holds, looked at whenever there is news; whether it does.

        Args:
            condition: it collects what it looks at.
            timeout_s: the longest wait [s]; None for no limit.
            look_again_s: the longest time between two looks [s].
        """
        end_s = math.inf if timeout_s is None else self._clock.now() + timeout_s
        while True:
            self._news.clear()
            if condition():
                return True
            left_s = end_s - self._clock.now()
            if left_s <= 0:
                return False
            self._pause(min(left_s, look_again_s))

    def _pause(self, timeout_s: float) -> None:
        for pipeline in self._pipelines:
            pipeline.worker.wake()
        self._clock.pause(self._news, timeout_s)

    def _budget_s(self, pipeline: SourcePipeline) -> float:
        """How long, from its begin, this step waits for a source's next frame [s]."""
        if pipeline.failure is not None:
            return -math.inf
        if not pipeline.worker.ready:
            return math.inf
        if pipeline.is_done:
            return -math.inf
        frame = pipeline.frame
        if pipeline.is_lossless or self._options.mode == "sync":
            return -math.inf if _is_newest(pipeline) else math.inf
        if frame is None and self._options.on_stale != "suspend":
            return math.inf
        if not pipeline.all_begun:
            return self._options.stale_budget_s if self._can_be_without else math.inf
        if pipeline.age_frames > self._options.max_age_frames:
            return self._options.stale_budget_s
        return -math.inf

    def _paced_s(self, pipeline: SourcePipeline, now_s: float) -> float:
        if pipeline.failure is not None or pipeline.frame is None or pipeline.age_frames <= 1:
            return -math.inf
        return pipeline.worker.wait_s(now_s)


def _is_newest(pipeline: SourcePipeline) -> bool:
    frame = pipeline.frame
    return frame is not None and frame.frame_id == pipeline.submitted_id
