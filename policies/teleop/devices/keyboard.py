"""Keyboards that drive envs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from holdstep.errors import ConfigError
from holdstep.policies.teleop.devices.bindings import Move, Toggle
from holdstep.policies.teleop.devices.device_source import DeviceSource, check_names
from holdstep.policies.teleop.devices.mapping import ActionMapping
from holdstep.policies.teleop.devices.sdl_names import key_names, load_pygame

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv

KEYBOARD_COMMANDS = MappingProxyType(
    {
        "r": ("reset",),
        "return": ("success", "reset"),
        "backspace": ("failure", "reset"),
        "delete": ("discard_last",),
        "space": ("pause",),
        "f1": ("start",),
        "escape": ("stop",),
    }
)
"""What keys order where nothing else is said."""

# Pairs of keys that lie beside each other: against the entry, and along it.
_PAIRS = (("left", "right"), ("down", "up"), ("s", "w"), ("a", "d"), ("q", "e"), ("z", "x"),
          ("f", "g"), ("v", "b"), ("j", "k"), ("n", "m"))  # fmt: skip


class KeyboardSource(DeviceSource):
    """Drives rows with the keyboard, through a small window that says what the keys do.

    The window must have the focus. ``SDL_VIDEODRIVER=dummy`` opens none; then only events that a
    test posts are heard. See :class:`OperatorControls` for taps, and what is held over a pause.

    Args:
        mapping: what the keys mean, or the same as plain data. Keys are named as pygame's constants
            are: ``"w"``, ``"left"``, ``"return"``, ``"kp8"``.
        start_paused: wait for the operator to start.
        reclutch: a key that is held during a pause or reset counts again once it was released.
        clock: time [s], for tests.

    Raises:
        ConfigError: the mapping can't be used.
        MissingExtraError: the extra ``devices`` is not installed.
    """

    @classmethod
    def for_env(cls, env: TorchVectorEnv, **options: Any) -> KeyboardSource:
        """A keyboard for any env: a pair of keys for each entry of its actions.

        Entries 0 and 1 have the arrows, then S W, A D, Q E, Z X, F G, V B, J K, N M; pressed, they
        go to the action's bounds, or 1 where it has none.

        Args:
            env: the env.
            **options: as for the class.

        Raises:
            ConfigError: its actions have more entries than there are pairs; give a mapping.
        """
        return cls(mapping_for_env(env, _PAIRS, KEYBOARD_COMMANDS), **options)

    @property
    def _gamepad(self) -> None:
        return None

    def _check_inputs(self, names: Iterable[str]) -> None:
        known = key_names(load_pygame("A keyboard as an action source")).values()
        check_names(names, (name for each in known for name in each), "keyboard")


class Se2Keyboard(KeyboardSource):
    """A mobile base by the keyboard: forward, left and turning left, ``[v_x, v_y, omega_z]``.

    Arrows (or 8, 2, 4, 6 of the number pad) move, Z and X (or 7 and 9) turn; as in Isaac Lab's
    device of this name.

    Args:
        v_x_sensitivity: forward speed while a key is pressed [m/s].
        v_y_sensitivity: speed to the left [m/s].
        omega_z_sensitivity: turning speed [rad/s].
        commands: instead of :data:`KEYBOARD_COMMANDS`.
        **options: as for :class:`KeyboardSource`.
    """

    def __init__(
        self,
        *,
        v_x_sensitivity: float = 0.8,
        v_y_sensitivity: float = 0.4,
        omega_z_sensitivity: float = 1.0,
        commands: Mapping[str, Any] = KEYBOARD_COMMANDS,
        **options: Any,
    ) -> None:
        speeds = (v_x_sensitivity, v_y_sensitivity, omega_z_sensitivity)
        pairs = (("down", "up"), ("right", "left"), ("x", "z"))
        pad = (("kp2", "kp8"), ("kp6", "kp4"), ("kp9", "kp7"))
        moves = paired_moves(pairs, speeds) + paired_moves(pad, speeds)
        super().__init__(ActionMapping(action_dim=3, moves=moves, commands=commands), **options)

    @classmethod
    def for_env(cls, env: TorchVectorEnv, **options: Any) -> Se2Keyboard:
        """A keyboard for an env whose actions are a base's speeds.

        Args:
            env: the env.
            **options: as for the class.

        Raises:
            ConfigError: its actions have not 3 entries.
        """
        _width_of(env, cls, (3,))
        return cls(**options)


class Se3Keyboard(KeyboardSource):
    """An arm by the keyboard: a step of its hand in position and rotation, and the gripper.

    W S, A D and Q E move along x, y and z; Z X, T G and C V turn about them (a rotation vector); K
    opens and closes the gripper, +1 open and -1 closed. As in Isaac Lab's device of this name.

    Args:
        pos_sensitivity: position while a key is pressed; as the env's action term scales it.
        rot_sensitivity: the same for the rotation.
        gripper_term: whether there is a gripper, so that the action has 7 entries, not 6.
        commands: instead of :data:`KEYBOARD_COMMANDS`.
        **options: as for :class:`KeyboardSource`.
    """

    def __init__(
        self,
        *,
        pos_sensitivity: float = 0.4,
        rot_sensitivity: float = 0.8,
        gripper_term: bool = True,
        commands: Mapping[str, Any] = KEYBOARD_COMMANDS,
        **options: Any,
    ) -> None:
        pairs = (("s", "w"), ("d", "a"), ("e", "q"), ("x", "z"), ("g", "t"), ("v", "c"))
        mapping = ActionMapping(
            action_dim=6 + gripper_term,
            moves=paired_moves(pairs, (pos_sensitivity,) * 3 + (rot_sensitivity,) * 3),
            toggles=(Toggle(input="k", index=6),) if gripper_term else (),
            commands=commands,
        )
        super().__init__(mapping, **options)

    @classmethod
    def for_env(cls, env: TorchVectorEnv, **options: Any) -> Se3Keyboard:
        """A keyboard for an env whose actions are steps of a hand; with a gripper, if they are 7.

        Args:
            env: the env.
            **options: as for the class.

        Raises:
            ConfigError: its actions have neither 6 nor 7 entries.
        """
        return cls(gripper_term=_width_of(env, cls, (6, 7)) == 7, **options)


def _width_of(env: TorchVectorEnv, device: type, widths: tuple[int, ...]) -> int:
    shape = tuple(env.single_action_space.shape or ())
    if len(shape) != 1 or shape[0] not in widths:
        raise ConfigError(
            f"{device.__name__} makes actions of {' or '.join(map(str, widths))} entries, those of "
            f"the env have the shape {shape}. KeyboardSource.for_env(env) has keys for any vector."
        )
    return int(shape[0])


def paired_moves(pairs: Iterable[tuple[str, str]], scales: Iterable[float]) -> tuple[Move, ...]:
    """A pair of inputs for each entry of an action, in their order: against it, and along it.

    >>> [(move.input, move.scale) for move in paired_moves([("s", "w")], [0.4])]
    [('s', -0.4), ('w', 0.4)]
    """
    return tuple(
        Move(input=name, index=index, scale=sign * scale)
        for index, (pair, scale) in enumerate(zip(pairs, scales, strict=True))
        for name, sign in zip(pair, (-1.0, 1.0), strict=True)
    )


def mapping_for_env(
    env: TorchVectorEnv,
    pairs: tuple[tuple[str, str], ...],
    commands: Mapping[str, Any],
) -> ActionMapping:
    """Pairs of inputs that move the entries of an env's actions, to their bounds.

    Raises:
        ConfigError: there are more entries than pairs, or the actions are no vectors.
    """
    shape = env.single_action_space.shape
    if shape is None or len(shape) != 1 or shape[0] > len(pairs):
        raise ConfigError(
            f"The env's actions have the shape {shape}; without a mapping, there are inputs for "
            f"vectors of up to {len(pairs)} entries. Give a mapping: ActionMapping(action_dim=..., "
            "moves=...)."
        )
    low, high = (
        [float(bound) for bound in bounds]
        for bounds in (env.single_action_space.low, env.single_action_space.high)  # type: ignore[attr-defined]
    )
    moves = [
        Move(input=name, index=index, scale=bound if abs(bound) < _LARGE else sign)
        for index, pair in enumerate(pairs[: shape[0]])
        for name, sign, bound in zip(pair, (-1.0, 1.0), (low[index], high[index]), strict=True)
    ]
    return ActionMapping(action_dim=shape[0], moves=tuple(moves), commands=commands)


_LARGE = 1e6  # bounds beyond it stand for none
