"""The names of sources, as configurations write them."""

from __future__ import annotations

import importlib
from types import MappingProxyType

from holdstep.errors import ConfigError, nearest_names

SOURCES = MappingProxyType(
    {
        "isaacteleop": "session.source:IsaacTeleopSource",
        "keyboard": "devices.keyboard:KeyboardSource",
        "se2_keyboard": "devices.keyboard:Se2Keyboard",
        "se3_keyboard": "devices.keyboard:Se3Keyboard",
        "gamepad": "devices.gamepad:GamepadSource",
        "se2_gamepad": "devices.gamepad:Se2Gamepad",
        "se3_gamepad": "devices.gamepad:Se3Gamepad",
    }
)
"""Where the class of each is. All but ``isaacteleop`` take plain data."""


def source_class(name: str) -> type:
    """The class of a source.

    Args:
        name: one of :data:`SOURCES`.

    Raises:
        ConfigError: there is no such source.

    >>> source_class("se3_keyboard").__name__
    'Se3Keyboard'
    """
    if name not in SOURCES:
        raise ConfigError(
            f"There is no source {name!r}."
            + (nearest_names(name, SOURCES) or f" There are: {', '.join(SOURCES)}.")
        )
    module, _, class_name = SOURCES[name].partition(":")
    found: type = getattr(importlib.import_module(f"holdstep.policies.teleop.{module}"), class_name)
    return found
