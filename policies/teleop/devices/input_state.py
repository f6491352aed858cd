"""What an input device's keys, buttons and sticks do between two looks at them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# A trigger that trembles around a single threshold would be pressed again and again.
_PRESSED = 0.6
_RELEASED = 0.4


@dataclass(frozen=True, kw_only=True)
class InputFrame:
    """One look at a device.

    Attributes:
        values: where inputs are now: keys and buttons 0 or 1, triggers 0 to 1, sticks -1 to 1.
            An input that was never touched may be missing; it is at 0.
        least: the smallest magnitude that each had since the last look.
        pressed: inputs that were pressed since the last look, in order; as often as they were.
        connected: whether the device is there.
        closed: the operator closed the device's window since the last look.
        time_s: when this look was taken, on the monotonic clock [s].
    """

    values: Mapping[str, float]
    least: Mapping[str, float]
    pressed: tuple[str, ...] = ()
    connected: bool = True
    closed: bool = False
    time_s: float = 0.0


class InputState:
    """Written by the thread that hears the device, looked at by the one that makes actions.

    Nothing is lost between two looks, and nothing is reported by both: a key that was pressed and
    released is in :attr:`InputFrame.pressed` once, however long the looks are apart.

    Args:
        clock: time [s], for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[str, float] = {}
        self._least: dict[str, float] = {}
        self._down: set[str] = set()
        self._pressed: list[str] = []
        self._connected = True
        self._closed = False

    def set(self, name: str, value: float) -> None:
        """An input is somewhere else now."""
        with self._lock:
            self._set(name, value)

    def release_all(self) -> None:
        """Nothing is held any more: the window lost the keyboard, or the device is gone."""
        with self._lock:
            for name in self._values:
                self._set(name, 0.0)

    def set_connected(self, connected: bool) -> None:
        """The device was plugged in, or is gone."""
        if not connected:
            self.release_all()
        with self._lock:
            self._connected = connected

    def close(self) -> None:
        """The operator closed the window."""
        self.release_all()
        with self._lock:
            self._closed = True

    def take(self) -> InputFrame:
        """Look; what is in this frame's ``pressed`` is in no other's."""
        with self._lock:
            frame = InputFrame(
                values=dict(self._values),
                least=self._least,
                pressed=tuple(self._pressed),
                connected=self._connected,
                closed=self._closed,
                time_s=self._clock(),
            )
            self._least = {name: abs(value) for name, value in self._values.items()}
            self._pressed = []
            # An edge, as a pressed key is, so that one can start again after it.
            self._closed = False
        return frame

    def _set(self, name: str, value: float) -> None:
        self._values[name] = value
        self._least[name] = min(self._least.get(name, 0.0), abs(value))
        if value >= _PRESSED and name not in self._down:
            self._down.add(name)
            self._pressed.append(name)
        elif value <= _RELEASED:
            self._down.discard(name)
