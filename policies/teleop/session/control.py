"""The operator's buttons and the host's events, brought together without losing either."""

from __future__ import annotations

from typing import Any

from holdstep.wrappers.pipeline.events import ExecutionState, SourceEvents


class ControlEvents:
    """What the operator and the host want of a session, frame by frame.

    The states of both are kept apart, and what is in force is the more cautious of the two: stopped
    before paused before running. A reset is an edge: isaacteleop's own state manager says "reset"
    in every frame in which the kill button is held.

    Args:
        resumes: whether an operator whose buttons say "running" from the first frame on is driving.
            If not, because they had paused an earlier session, they are once the buttons have said
            something else.
    """

    def __init__(self, *, resumes: bool = True) -> None:
        self._resumes = resumes
        self.host_reset = False
        self._host_state = ExecutionState.RUNNING
        self._operator_state = ExecutionState.RUNNING if resumes else ExecutionState.PAUSED
        self._operator_reset = False
        self._last_state = self._operator_state
        self._last_reset = False

    @property
    def state(self) -> ExecutionState:
        """What is in force."""
        return min(self._host_state, self._operator_state)

    @property
    def operator_runs(self) -> bool:
        """Whether the operator, as far as they have a say, is driving."""
        return self._operator_state is ExecutionState.RUNNING

    @property
    def reset(self) -> bool:
        """Whether retargeters are to forget what they remember, whoever wants it."""
        return self.host_reset or self._operator_reset

    def begin_frame(self, host_events: SourceEvents, *, reset: bool = False) -> None:
        """What the host wants of this frame.

        Args:
            host_events: since the last frame.
            reset: the retargeters have to forget anyway.
        """
        self.host_reset = host_events.reset or reset
        if host_events.state is not None:
            self._host_state = host_events.state

    def operator_says(self, state: ExecutionState, *, reset: bool) -> None:
        """What the operator's buttons say in this frame."""
        self._resumes = self._resumes or state is not ExecutionState.RUNNING
        self._operator_state = state if self._resumes else ExecutionState.PAUSED
        self._operator_reset = reset

    def end_frame(self, env_ids: tuple[int, ...]) -> SourceEvents:
        """What the operator, and nobody else, did in this frame.

        Args:
            env_ids: the rows that an operator's reset means.
        """
        reset = self._operator_reset and not self._last_reset
        entered = self._operator_state is not self._last_state
        self._last_state, self._last_reset = self._operator_state, self._operator_reset
        return SourceEvents(
            reset=reset,
            reset_env_ids=env_ids if reset else (),
            state=self._operator_state if entered else None,
        )


class ControlGraph:
    """A control pipeline that runs in every frame, also in those in which the host has a say.

    ``TeleopSession.step(execution_events=...)`` does not run its control pipeline in that step: a
    button that is pressed just then is never noticed, and the state machine behind it goes on from
    the wrong state. So the host's events go in here instead, after the buttons have been read.

    Args:
        graph: the session's own control pipeline.
        events: where both meet.
    """

    def __init__(self, graph: Any, events: ControlEvents) -> None:
        self._graph = graph
        self._events = events

    def __getattr__(self, name: str) -> Any:
        """Everything else that a session asks of a pipeline: its leaves and output types."""
        return getattr(self._graph, name)

    def execute_pipeline(self, inputs: dict[str, Any], context: Any = None) -> Any:
        """Read the buttons, then let the host have its say."""
        outputs = self._graph.execute_pipeline(inputs, context)
        states, reset = outputs["teleop_state"], outputs["reset_event"]
        names = [channel.name for channel in states.group_type.types]
        active = [name for index, name in enumerate(names) if states[index]]
        if len(active) != 1:
            return outputs  # which the session refuses, with a message of its own
        self._events.operator_says(ExecutionState[active[0].upper()], reset=bool(reset[0]))
        for index, name in enumerate(names):
            states[index] = name == self._events.state.name.lower()
        reset[0] = self._events.reset
        return outputs
