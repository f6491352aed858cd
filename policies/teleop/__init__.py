"""People who drive envs: with a headset through isaacteleop, a keyboard, or a gamepad.

Each is an :class:`~holdstep.wrappers.pipeline.ActionSource` for
:class:`~holdstep.wrappers.PipelinedActions`. :class:`TeleopPolicy` makes a plain policy of any.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdstep.policies.teleop.devices import (
        ActionMapping,
        DeviceSource,
        GamepadSource,
        KeyboardSource,
        Move,
        Se2Gamepad,
        Se2Keyboard,
        Se3Gamepad,
        Se3Keyboard,
        Toggle,
    )
    from holdstep.policies.teleop.graph import (
        NODE_TYPES,
        ControlConfig,
        GraphConfig,
        NodeConfig,
        register_node,
    )
    from holdstep.policies.teleop.policy import TeleopPolicy
    from holdstep.policies.teleop.registry import SOURCES, source_class
    from holdstep.policies.teleop.session import (
        FrameContext,
        IsaacTeleopSource,
        SessionRecording,
        read_recording,
        session_config,
    )

__all__ = [
    "NODE_TYPES",
    "SOURCES",
    "ActionMapping",
    "ControlConfig",
    "DeviceSource",
    "FrameContext",
    "GamepadSource",
    "GraphConfig",
    "IsaacTeleopSource",
    "KeyboardSource",
    "Move",
    "NodeConfig",
    "Se2Gamepad",
    "Se2Keyboard",
    "Se3Gamepad",
    "Se3Keyboard",
    "SessionRecording",
    "TeleopPolicy",
    "Toggle",
    "read_recording",
    "register_node",
    "session_config",
    "source_class",
]

_GRAPH = ("NODE_TYPES", "ControlConfig", "GraphConfig", "NodeConfig", "register_node")
_SESSION = (
    "FrameContext",
    "IsaacTeleopSource",
    "SessionRecording",
    "read_recording",
    "session_config",
)
_IN_PACKAGES = {"graph": _GRAPH, "session": _SESSION}
_OWN = {"TeleopPolicy": "policy", "SOURCES": "registry", "source_class": "registry"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'holdstep.policies.teleop' has no attribute {name!r}")
    module = _OWN.get(name) or next(
        (module for module, names in _IN_PACKAGES.items() if name in names), "devices"
    )
    return getattr(importlib.import_module(f"holdstep.policies.teleop.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
