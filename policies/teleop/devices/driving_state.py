"""Whether a device's operator is driving, as they and the host have it."""

from __future__ import annotations

from holdstep.wrappers.pipeline.events import ExecutionState


class DrivingState:
    """The states of operator and host, kept apart, of which the more cautious one is in force.

    So the host's "go on" ends a pause of the host's, never one of the operator's. An operator who
    sees that the rows stand still and orders them to go on overrules the host, though.

    Args:
        state: the operator's, to begin with.

    Attributes:
        operator: what the operator wants.
    """

    def __init__(self, state: ExecutionState) -> None:
        self.operator = state
        self._host = ExecutionState.RUNNING

    @property
    def in_force(self) -> ExecutionState:
        """Stopped before paused before running."""
        return min(self._host, self.operator)

    def operator_enters(self, state: ExecutionState) -> None:
        """The operator orders a state."""
        self.operator = state
        if state is ExecutionState.RUNNING:
            self._host = state

    def host_enters(self, state: ExecutionState) -> None:
        """The host does."""
        self._host = state

    def ordered(self, command: str) -> ExecutionState | None:
        """The state that ``"start"``, ``"stop"`` or ``"pause"`` means now; None for no change."""
        if command == "start":
            return ExecutionState.RUNNING
        if command == "stop":
            return ExecutionState.STOPPED
        if self.in_force is ExecutionState.STOPPED:
            return None  # "pause" does not leave it: only "start" does
        running = self.in_force is ExecutionState.RUNNING
        return ExecutionState.PAUSED if running else ExecutionState.RUNNING
