"""SDL without a screen: keys that a test posts, and gamepads that SDL itself pretends."""

import contextlib
import ctypes
import importlib.metadata
import threading
import time

import pygame


def keys(*changes):
    """Post presses and releases: ``"w"`` and ``"-w"``, by pygame's names."""
    for change in changes:
        kind = pygame.KEYUP if change.startswith("-") else pygame.KEYDOWN
        pygame.event.post(pygame.event.Event(kind, key=getattr(pygame, f"K_{change.lstrip('-')}")))


def until(condition, timeout_s=20.0):
    """Wait for another thread."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def thread_names():
    return [thread.name for thread in threading.enumerate()]


class VirtualPad:
    """A gamepad of SDL's own, known to every part of it as a real one would be."""

    def __init__(self):
        files = importlib.metadata.files("pygame-ce")
        library = next(file for file in files if "libSDL2-2" in file.name)
        self._sdl = sdl = ctypes.CDLL(str(library.locate()))
        sdl.SDL_JoystickOpen.restype = ctypes.c_void_p
        sdl.SDL_JoystickClose.argtypes = [ctypes.c_void_p]
        sdl.SDL_JoystickSetVirtualAxis.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int16]
        sdl.SDL_JoystickSetVirtualButton.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint8]
        sdl.SDL_JoystickInstanceID.argtypes = [ctypes.c_void_p]
        index = sdl.SDL_JoystickAttachVirtual(1, 6, 15, 0)
        assert index >= 0
        self._joystick = sdl.SDL_JoystickOpen(index)

    def axis(self, number, value):
        assert self._sdl.SDL_JoystickSetVirtualAxis(self._joystick, number, value) == 0

    def button(self, number, down):
        assert self._sdl.SDL_JoystickSetVirtualButton(self._joystick, number, down) == 0

    @property
    def index(self):
        """Which moves up when an earlier one is unplugged."""
        mine = self._sdl.SDL_JoystickInstanceID(self._joystick)
        indices = range(self._sdl.SDL_NumJoysticks())
        return next(i for i in indices if self._sdl.SDL_JoystickGetDeviceInstanceID(i) == mine)

    def unplug(self):
        if self._joystick is not None:
            assert self._sdl.SDL_JoystickDetachVirtual(self.index) == 0
            self._sdl.SDL_JoystickClose(self._joystick)
            self._joystick = None


@contextlib.contextmanager
def plugged_in():
    pad = VirtualPad()
    try:
        yield pad
    finally:
        pad.unplug()
