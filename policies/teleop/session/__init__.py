"""Sessions of isaacteleop as sources of actions."""

from holdstep.policies.teleop.session.config import session_config
from holdstep.policies.teleop.session.frame_context import FrameContext
from holdstep.policies.teleop.session.recording import SessionRecording, read_recording
from holdstep.policies.teleop.session.source import IsaacTeleopSource

__all__ = [
    "FrameContext",
    "IsaacTeleopSource",
    "SessionRecording",
    "read_recording",
    "session_config",
]
