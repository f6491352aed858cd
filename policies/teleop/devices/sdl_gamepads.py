"""The gamepads that are plugged in."""

from __future__ import annotations

from typing import Any


class SdlGamepads:
    """Opens gamepads, which send events only while somebody keeps them open.

    Args:
        pygame: the package.
    """

    def __init__(self, pygame: Any) -> None:
        self._pygame = pygame
        self._open: dict[int, Any] = {}

    def count(self) -> int:
        """How many there are that SDL knows the buttons of."""
        return len(self._indices())

    def open(self, number: int) -> int | None:
        """Open one of them.

        Args:
            number: from 0, of those that are plugged in now.

        Returns:
            SDL's number of it, which its events carry; None if there is none.
        """
        indices = self._indices()
        if number >= len(indices):
            return None
        pad = self._pygame._sdl2.controller.Controller(indices[number])
        instance_id = int(pad.as_joystick().get_instance_id())
        self._open[instance_id] = pad
        return instance_id

    def close(self, instance_id: int) -> None:
        """It was unplugged."""
        self._open.pop(instance_id, None)

    def close_all(self) -> None:
        """Nobody listens any more."""
        self._open.clear()

    def _indices(self) -> list[int]:
        controller, joystick = self._pygame._sdl2.controller, self._pygame.joystick
        return [index for index in range(joystick.get_count()) if controller.is_controller(index)]
