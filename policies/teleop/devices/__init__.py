"""Keyboards and gamepads as sources of actions."""

from holdstep.policies.teleop.devices.bindings import COMMANDS, Move, Toggle
from holdstep.policies.teleop.devices.device_source import DeviceSource
from holdstep.policies.teleop.devices.gamepad import (
    GAMEPAD_COMMANDS,
    GamepadSource,
    Se2Gamepad,
    Se3Gamepad,
)
from holdstep.policies.teleop.devices.keyboard import (
    KEYBOARD_COMMANDS,
    KeyboardSource,
    Se2Keyboard,
    Se3Keyboard,
)
from holdstep.policies.teleop.devices.mapping import ActionMapping

__all__ = [
    "COMMANDS",
    "GAMEPAD_COMMANDS",
    "KEYBOARD_COMMANDS",
    "ActionMapping",
    "DeviceSource",
    "GamepadSource",
    "KeyboardSource",
    "Move",
    "Se2Gamepad",
    "Se2Keyboard",
    "Se3Gamepad",
    "Se3Keyboard",
    "Toggle",
]
