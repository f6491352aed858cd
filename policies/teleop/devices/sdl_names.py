"""The names of keys, buttons and sticks, and what SDL's events say of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from holdstep.extras import require

BUTTONS = (
    "a", "b", "x", "y", "back", "guide", "start", "left_stick", "right_stick", "left_shoulder",
    "right_shoulder", "dpad_up", "dpad_down", "dpad_left", "dpad_right",
)  # fmt: skip
"""In the order of SDL's numbers, the same for every gamepad that it knows."""
AXES = ("left_x", "left_y", "right_x", "right_y", "left_trigger", "right_trigger")
GAMEPAD_INPUTS = frozenset(BUTTONS) | frozenset(AXES)

_FULL_SCALE = 32767


class Change(NamedTuple):
    """What an event says.

    Attributes:
        instance_id: of the gamepad; None for the keyboard.
        name: of the input.
        value: where it is now.
    """

    instance_id: int | None
    name: str
    value: float


def load_pygame(purpose: str) -> Any:
    """The package ``pygame``, from pygame-ce.

    Raises:
        MissingExtraError: it is not installed.
    """
    with environment({"PYGAME_HIDE_SUPPORT_PROMPT": "1"}):
        pygame = require("pygame", extra="devices", purpose=purpose)
        require("pygame._sdl2.controller", extra="devices", purpose=purpose)
    return pygame


@contextlib.contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables that are not set yet, for what looks at them just once."""
    added = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def key_names(pygame: Any) -> dict[int, tuple[str, ...]]:
    """All names of each key, by SDL's number: ``"w"``, ``"left"``, ``"kp8"``, ``"return"``."""
    names: dict[int, tuple[str, ...]] = {}
    for constant, code in sorted(vars(pygame).items()):
        if constant.startswith("K_"):
            names[code] = (*names.get(code, ()), constant[2:].lower())
    return names


def key_changes(event: Any, pygame: Any, names: dict[int, tuple[str, ...]]) -> list[Change]:
    """What an event of the keyboard says."""
    value = float(event.type == pygame.KEYDOWN)
    return [Change(None, name, value) for name in names.get(event.key, ())]


def gamepad_change(event: Any, pygame: Any) -> Change | None:
    """What an event of a gamepad says; None where it is of no input that has a name.

    Sticks go from -1 to 1, to the right and up; triggers from 0 to 1.
    """
    if event.type == pygame.CONTROLLERAXISMOTION:
        if event.axis >= len(AXES):
            return None
        name = AXES[event.axis]
        # SDL's range is -32768 to 32767, downwards for sticks.
        value = max(event.value / _FULL_SCALE, -1.0)
        return Change(event.instance_id, name, -value if name.endswith("_y") else value)
    if event.button >= len(BUTTONS):
        return None
    down = event.type == pygame.CONTROLLERBUTTONDOWN
    return Change(event.instance_id, BUTTONS[event.button], float(down))
