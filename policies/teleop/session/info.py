"""What a session of isaacteleop tells of itself."""

from __future__ import annotations

from typing import Any


class SessionInfo:
    """The names that a ``TeleopSession`` has, on the source that runs one.

    Attributes:
        config: its configuration, a ``TeleopSessionConfig``.
        session: the ``TeleopSession`` itself, for whatever is not named here; a new one when the
            source is started again. Only who computes the source's frames may step it.
    """

    config: Any
    session: Any

    @property
    def frame_count(self) -> int:
        """Steps that the session has made."""
        return int(self.session.frame_count)

    @property
    def start_time(self) -> float:
        """When the session was opened, as ``time.time()`` [s]; 0 before that."""
        return float(self.session.start_time)

    @property
    def oxr_session(self) -> Any:
        """The session's own ``OpenXRSession``; None for a replay, with handles, or when closed."""
        return self.session.oxr_session

    @property
    def last_context(self) -> Any:
        """``ComputeContext`` of the frame that was computed last.

        Which is not the one that was applied last; that one's is ``PipelinedActions.last_context``.
        """
        return self.session.last_context

    @property
    def last_step_info(self) -> Any:
        """``RetargetingStepInfo`` of the frame that was computed last, by the session itself."""
        return self.session.last_step_info

    def get_elapsed_time(self) -> float:
        """Since the session was opened [s]."""
        return float(self.session.get_elapsed_time())

    def get_external_input_specs(self) -> dict[str, Any]:
        """``TensorGroupType`` by leaf and input: what each frame's external inputs have to be."""
        return dict(self.session.get_external_input_specs())

    def has_external_inputs(self) -> bool:
        """Whether there are such."""
        return bool(self.session.has_external_inputs())
