"""One key, button or stick, and what it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from holdstep.errors import ConfigError

Command = Literal["reset", "success", "failure", "discard_last", "pause", "start", "stop"]
"""What an operator can order besides motion.

``reset`` begins a new episode, ``success`` and ``failure`` mark the present one, ``discard_last``
takes back the last demonstration, ``pause`` pauses and resumes, ``start`` and ``stop`` do what they
say.
"""
COMMANDS: tuple[str, ...] = get_args(Command)


@dataclass(frozen=True, kw_only=True)
class Move:
    """An input moves one entry of the action while it is held.

    Attributes:
        input: a key (``"w"``, ``"left"``), button (``"a"``) or axis (``"left_x"``).
        index: the entry of the action.
        scale: what is added to the entry, fully pressed; its sign is the direction.
        dead_zone: smaller values of a stick or trigger count as 0; the rest is stretched, so that
            motion begins gently.
        integrate: the input gives a speed: the entry changes by ``scale`` per second of simulated
            time and stays where it is when the input is released. For actions that are positions.
    """

    input: str
    index: int
    scale: float = 1.0
    dead_zone: float = 0.1
    integrate: bool = False

    def __post_init__(self) -> None:
        _check(self, self.input, self.index)
        if not math.isfinite(self.scale):
            raise ConfigError(f"scale of {self.input!r} must be finite, got {self.scale!r}.")
        if not 0 <= self.dead_zone < 1:
            raise ConfigError(
                f"dead_zone of {self.input!r} must be at least 0 and less than 1, "
                f"got {self.dead_zone!r}."
            )

    def amount(self, value: float) -> float:
        """How far the input is pressed, -1 to 1, outside its dead zone.

        >>> move = Move(input="left_x", index=0, dead_zone=0.5)
        >>> move.amount(0.5), move.amount(0.75), move.amount(-1.0)
        (0.0, 0.5, -1.0)
        """
        beyond = abs(value) - self.dead_zone
        if beyond <= 0:
            return 0.0
        return math.copysign(min(beyond / (1 - self.dead_zone), 1.0), value)


@dataclass(frozen=True, kw_only=True)
class Toggle:
    """Each press of an input switches one entry of the action between two values: a gripper.

    Attributes:
        input: a key or button.
        index: the entry of the action.
        off: its value at first, and after a reset.
        on: its other value.
    """

    input: str
    index: int
    off: float = 1.0
    on: float = -1.0

    def __post_init__(self) -> None:
        _check(self, self.input, self.index)


def _check(entry: Move | Toggle, name: object, index: object) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{type(entry).__name__}.input must be a name, got {name!r}.")
    if isinstance(index, bool) or not (isinstance(index, int) and index >= 0):
        raise ConfigError(
            f"index of {name!r} must be an entry of the action, 0 or more, got {index!r}."
        )
