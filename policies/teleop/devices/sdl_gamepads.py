"""The gamepads that are plugged in."""

from __future__ import annotations

from collections.abc import Container
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

    def open(self, number: int, *, taken: Container[int] = ()) -> int | None:
        """Open one of them.

        Args:
            number: from 0, of those that are plugged in now.
            taken: those that other operators have, by SDL's numbers. After one was unplugged, the
                others move up; so where the number leads to one of these, the first that is free is
                meant.

        Returns:
            SDL's number of it, which its events carry; None if there is none.
        """
        indices = self._indices()
        if number >= len(indices):
            return None
        for index in (indices[number], *indices):
            instance_id = self._instance_id(index)
            if instance_id not in taken:
                return self._opened(index, instance_id)
        return None

    def open_new(self, index: int, *, taken: Container[int]) -> int | None:
        """Open the one that was just plugged in.

        Args:
            index: SDL's index of it, as its event says.
            taken: those that somebody has already, by SDL's numbers.

        Returns:
            SDL's number of it; None if it is one of those, or gone already.
        """
        if index not in self._indices():
            return None
        instance_id = self._instance_id(index)
        return None if instance_id in taken else self._opened(index, instance_id)

    def close(self, instance_id: int) -> None:
        """It was unplugged."""
        self._open.pop(instance_id, None)

    def close_all(self) -> None:
        """Nobody listens any more."""
        self._open.clear()

    def _instance_id(self, index: int) -> int:
        # Not Controller.as_joystick(): it looks the index up at which the gamepad once was.
        return int(self._pygame.joystick.Joystick(index).get_instance_id())

    def _opened(self, index: int, instance_id: int) -> int:
        self._open[instance_id] = self._pygame._sdl2.controller.Controller(index)
        return instance_id

    def _indices(self) -> list[int]:
        controller, joystick = self._pygame._sdl2.controller, self._pygame.joystick
        return [index for index in range(joystick.get_count()) if controller.is_controller(index)]
