"""One request that is worked on, and one that waits: who replaces what, and no event is lost."""

from __future__ import annotations

from holdstep.wrappers.pipeline.events import NO_EVENTS, ExecutionState, SourceEvents
from holdstep.wrappers.pipeline.frame import Failure, Frame, News, OperatorNews, Submission


class FrameDesk:
    """The requests of one source between the host, which submits, and a worker, which computes.

    Knows nothing of threads and time: both sides use it under a lock of theirs. A request that was
    not begun is replaced by a newer one. Every event is delivered exactly once: the host's with the
    first frame that is finished after it (what a failed computation was told goes back to the next
    one), the operator's with the next :meth:`collect`.

    Attributes:
        pending: the request that waits.
        running: the one that is worked on.
        failure: why the source does not run; it is given nothing while there is one.
        restarting: the source is to be stopped and started; until then, it is given nothing, and
            its failures are of the past.
    """

    def __init__(self) -> None:
        self.pending: Submission | None = None
        self.running: Submission | None = None
        self.failure: Failure | None = None
        self.restarting = False
        self._frame: Frame | None = None
        self._host_events = NO_EVENTS
        self._operator_news: tuple[OperatorNews, ...] = ()
        self._host_state: ExecutionState | None = None  # that requests were submitted with
        self._owes_state = False  # to the next request: the source has forgotten it

    @property
    def can_begin(self) -> bool:
        """Whether there is something to do and somebody who could do it."""
        stands = self.failure is not None or self.restarting or self.running is not None
        return self.pending is not None and not stands

    def submit(self, submission: Submission) -> int:
        """Host: ask for a frame.

        Returns:
            How many requests it replaces, 0 or 1.
        """
        replaced = self.pending
        if replaced is not None:
            submission = submission.with_earlier(replaced.request.host_events)
        state = submission.request.host_events.state
        if state is not None:
            self._host_state = state
        self.pending = submission
        return int(replaced is not None)

    def begin(self) -> Submission:
        """Worker: take the request that waits; :attr:`can_begin` must be True."""
        assert self.can_begin
        submission, self.pending = self.pending, None
        assert submission is not None
        if self._owes_state:
            self._owes_state = False
            if submission.request.host_events.state is None:
                submission = submission.with_earlier(SourceEvents(state=self._host_state))
        self.running = submission
        return submission

    def finish(self, frame: Frame) -> None:
        """Worker: the computation has ended."""
        assert self.running is not None
        host_events = frame.host_events
        env_ids = self.running.request.env_ids
        operator_events = frame.result.events.without_echo(host_events, env_ids)
        self.running = None
        self._frame = frame
        self._host_events = self._host_events.merged_with(host_events)
        if operator_events:
            news = OperatorNews(frame_id=frame.frame_id, events=operator_events)
            self._operator_news += (news,)

    def fail(self, error: BaseException) -> None:
        """Worker: the source has failed, in a computation or outside of one."""
        frame_id = None if self.running is None else self.running.request.frame_id
        self.failure = Failure(error=error, frame_id=frame_id)
        self.give_back()

    def give_back(self) -> None:
        """Worker: the request that it had begun is as if it had not been."""
        failed, self.running = self.running, None
        if failed is None:
            return
        if self.pending is None:
            self.pending = failed
        else:
            self.pending = self.pending.with_earlier(failed.request.host_events)

    def recover(self) -> None:
        """Worker: the source was stopped, and is about to start again.

        It may come up in any state, so it is told again in which one the host wants it.
        """
        self.failure = None
        self.restarting = False
        self._owes_state = self._host_state is not None

    def collect(self) -> News:
        """Host: the newest frame, and all events since the last call."""
        news = News(
            frame=self._frame,
            host_events=self._host_events,
            operator_news=self._operator_news,
            failure=None if self.restarting else self.failure,
        )
        self._host_events, self._operator_news = NO_EVENTS, ()
        return news
