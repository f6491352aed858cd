"""Gamepads that drive envs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from holdstep.errors import ConfigError
from holdstep.policies.teleop.devices.bindings import Move, Toggle
from holdstep.policies.teleop.devices.device_source import DeviceSource, check_names
from holdstep.policies.teleop.devices.mapping import ActionMapping
from holdstep.policies.teleop.devices.sdl_names import GAMEPAD_INPUTS, load_pygame

GAMEPAD_COMMANDS = MappingProxyType(
    {
        "y": ("success", "reset"),
        "b": ("failure", "reset"),
        "back": ("reset",),
        "start": ("pause",),
        "guide": ("stop",),
        "left_shoulder": ("discard_last",),
    }
)
"""What buttons order where nothing else is said."""


class GamepadSource(DeviceSource):
    """Drives rows with a gamepad; it needs no window, and shows one where there is a display.

    Inputs have the names of SDL, which are the same for all gamepads that it knows: the sticks
    ``left_x``, ``left_y``, ``right_x``, ``right_y`` (-1 to 1, to the right and up), the triggers
    ``left_trigger``, ``right_trigger`` (0 to 1), and the buttons ``a``, ``b``, ``x``, ``y``,
    ``back``, ``start``, ``dpad_up`` and so on. A gamepad that is unplugged pauses its rows; plugged
    in again, it goes on when the operator says so.

    Args:
        mapping: what the inputs mean, or the same as plain data.
        gamepad: its number, from 0.
        start_paused: wait for the operator to start.
        reclutch: a stick that is held during a pause or reset counts again once it was released.
        clock: time [s], for tests.

    Raises:
        ConfigError: the mapping can't be used.
        MissingExtraError: the extra ``devices`` is not installed.
    """

    def __init__(
        self, mapping: ActionMapping | Mapping[str, Any], *, gamepad: int = 0, **options: Any
    ) -> None:
        if isinstance(gamepad, bool) or not (isinstance(gamepad, int) and gamepad >= 0):
            raise ConfigError(f"gamepad must be a number, 0 or more, got {gamepad!r}.")
        load_pygame("A gamepad as an action source")
        self._number = gamepad
        super().__init__(mapping, **options)

    @property
    def _gamepad(self) -> int:
        return self._number

    def _check_inputs(self, names: Iterable[str]) -> None:
        check_names(names, GAMEPAD_INPUTS, "gamepad")


class Se2Gamepad(GamepadSource):
    """A mobile base by a gamepad: forward, left and turning left, ``[v_x, v_y, omega_z]``.

    The left stick moves, the right one turns.

    Args:
        v_x_sensitivity: forward speed at full deflection [m/s].
        v_y_sensitivity: speed to the left [m/s].
        omega_z_sensitivity: turning speed [rad/s].
        dead_zone: smaller deflections count as none.
        commands: instead of :data:`GAMEPAD_COMMANDS`.
        **options: as for :class:`GamepadSource`.
    """

    def __init__(
        self,
        *,
        v_x_sensitivity: float = 1.0,
        v_y_sensitivity: float = 1.0,
        omega_z_sensitivity: float = 1.0,
        dead_zone: float = 0.1,
        commands: Mapping[str, Any] = GAMEPAD_COMMANDS,
        **options: Any,
    ) -> None:
        axes = (
            ("left_y", v_x_sensitivity),
            ("left_x", -v_y_sensitivity),
            ("right_x", -omega_z_sensitivity),
        )
        moves = tuple(
            Move(input=name, index=index, scale=scale, dead_zone=dead_zone)
            for index, (name, scale) in enumerate(axes)
        )
        super().__init__(ActionMapping(action_dim=3, moves=moves, commands=commands), **options)


class Se3Gamepad(GamepadSource):
    """An arm by a gamepad: a step of its hand in position and rotation, and the gripper.

    The left stick moves along x and y, the right one along z and turns about it, the cross turns
    about x and y (a rotation vector), and X opens and closes the gripper, +1 open and -1 closed.

    Args:
        pos_sensitivity: position at full deflection; as the env's action term scales it.
        rot_sensitivity: the same for the rotation.
        gripper_term: whether there is a gripper, so that the action has 7 entries, not 6.
        dead_zone: smaller deflections count as none.
        commands: instead of :data:`GAMEPAD_COMMANDS`.
        **options: as for :class:`GamepadSource`.
    """

    def __init__(
        self,
        *,
        pos_sensitivity: float = 1.0,
        rot_sensitivity: float = 1.6,
        gripper_term: bool = True,
        dead_zone: float = 0.1,
        commands: Mapping[str, Any] = GAMEPAD_COMMANDS,
        **options: Any,
    ) -> None:
        pos, rot = pos_sensitivity, rot_sensitivity
        inputs = (
            ("left_y", 0, pos),
            ("left_x", 1, -pos),
            ("right_y", 2, pos),
            ("dpad_right", 3, rot),
            ("dpad_left", 3, -rot),
            ("dpad_down", 4, rot),
            ("dpad_up", 4, -rot),
            ("right_x", 5, -rot),
        )
        mapping = ActionMapping(
            action_dim=6 + gripper_term,
            moves=tuple(
                Move(input=name, index=index, scale=scale, dead_zone=dead_zone)
                for name, index, scale in inputs
            ),
            toggles=(Toggle(input="x", index=6),) if gripper_term else (),
            commands=commands,
        )
        super().__init__(mapping, **options)
