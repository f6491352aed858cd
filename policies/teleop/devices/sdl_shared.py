"""Who hears devices in this process; opens SDL for the first, and closes it after the last."""

from __future__ import annotations

import threading

from holdstep.policies.teleop.devices.sdl_thread import Listener, SdlThread

# SDL is one for the whole process, so this is too.
_lock = threading.Lock()
_shared: list[SdlThread] = []


def attach(listener: Listener) -> None:
    """Let a listener hear its device; opens SDL if nobody has yet.

    Raises:
        BackendUnavailableError: no display, no such gamepad, or SDL can't be opened.
        MissingExtraError: pygame is not installed.
    """
    with _lock:
        if not (_shared and _shared[0].alive):
            _shared[:] = [SdlThread()]
        thread = _shared[0]
        try:
            thread.attach(listener)
        finally:
            _stop_if_unused(thread)


def detach(listener: Listener) -> None:
    """A listener hears nothing more; closes SDL if nobody else does."""
    with _lock:
        if _shared and _shared[0].alive:
            _shared[0].detach(listener)
            _stop_if_unused(_shared[0])


def _stop_if_unused(thread: SdlThread) -> None:
    if not thread.listeners:
        _shared.clear()
        thread.stop()
