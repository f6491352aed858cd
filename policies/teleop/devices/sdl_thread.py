"""The one thread of a process that talks to SDL, and hears keyboards and gamepads for everybody."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from holdstep.errors import BackendUnavailableError
from holdstep.policies.teleop.devices.input_state import InputState
from holdstep.policies.teleop.devices.sdl_gamepads import SdlGamepads
from holdstep.policies.teleop.devices.sdl_names import (
    environment,
    gamepad_change,
    key_changes,
    key_names,
    load_pygame,
)
from holdstep.policies.teleop.devices.sdl_panel import Block, SdlPanel

_WAIT_MS = 10  # an event ends the wait earlier; changes of the panel are drawn this late
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 2.0


@dataclass(eq=False, kw_only=True)
class Listener:
    """Who wants to hear a device.

    Attributes:
        inputs: what it hears.
        gamepad: the gamepad's number, from 0; None for the keyboard.
        title: what the window calls it.
        help: names of inputs, and what each does.
        status: shown below them; may be changed at any time.
        image: uint8 ``[H, W, 3]``, shown above them; may be replaced at any time.
        instance_id: SDL's number of the gamepad while it is there.
        failure: why nothing is heard any more; None while all is well.
    """

    inputs: InputState
    gamepad: int | None = None
    title: str = ""
    help: tuple[tuple[str, str], ...] = ()
    status: str = ""
    image: npt.NDArray[np.uint8] | None = None
    instance_id: int | None = None
    failure: BaseException | None = None


class SdlThread:
    """Opens SDL, its window and its gamepads, and hands every event to those whom it concerns.

    SDL belongs to the whole process and wants to be talked to by a single thread, whichever of the
    env's or a source's threads makes the actions. Everybody shares one: see
    :mod:`~holdstep.policies.teleop.devices.sdl_shared`.

    Raises:
        BackendUnavailableError: SDL can't be opened, or is in use.
    """

    def __init__(self) -> None:
        self._pygame = load_pygame("Driving with a keyboard or gamepad")
        self._has_window = _display_is_there()
        if self._pygame.display.get_init():
            raise BackendUnavailableError(
                "pygame's display is in use in this process already, and it can only be used by "
                "one. Close it first (an env with render_mode='human' has one)."
            )
        self.listeners: list[Listener] = []
        self._gamepads = SdlGamepads(self._pygame)
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = False
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="holdstep-sdl", daemon=True)
        self._thread.start()
        self._opened.result(_START_TIMEOUT_S)

    def attach(self, listener: Listener) -> None:
        """Let a listener hear its device from now on.

        Raises:
            BackendUnavailableError: its gamepad is not there, or no window for its keyboard.
        """
        if listener.gamepad is None and not self._has_window:
            raise BackendUnavailableError(
                "A keyboard is heard through a window, and there is no display: neither DISPLAY "
                "nor WAYLAND_DISPLAY is set. Run this where there is a screen (or over ssh -X), or "
                "drive with a gamepad."
            )
        self._call(lambda: self._add(listener))

    def detach(self, listener: Listener) -> None:
        """A listener hears nothing more."""
        self._call(lambda: self._remove(listener))

    def stop(self) -> None:
        """Close the window and end the thread."""
        self._stopping = True
        self._thread.join(_STOP_TIMEOUT_S)

    @property
    def alive(self) -> bool:
        """Whether it can still hear anything."""
        return self._thread.is_alive() and not self._stopping

    def _call(self, job: Callable[[], None]) -> None:
        done: Future[None] = Future()

        def run() -> None:
            try:
                job()
                done.set_result(None)
            except BaseException as error:  # the caller's, who waits for it
                done.set_exception(error)

        self._jobs.put(run)
        done.result(_START_TIMEOUT_S)

    def _run(self) -> None:
        pygame = self._pygame
        with contextlib.ExitStack() as stack:
            try:
                panel = stack.enter_context(_opened_sdl(pygame, window=self._has_window))
            except Exception as error:
                self._opened.set_exception(
                    BackendUnavailableError(f"SDL can't be opened: {error}.")
                )
                return
            self._names = key_names(pygame)
            self._opened.set_result(None)
            try:
                self._listen(panel)
            except Exception as error:
                for each in self.listeners:
                    each.failure = error
            finally:
                self._gamepads.close_all()

    def _listen(self, panel: SdlPanel) -> None:
        pygame = self._pygame
        while not self._stopping:
            event = pygame.event.wait(_WAIT_MS)
            while event.type != pygame.NOEVENT:
                self._hear(event)
                event = pygame.event.poll()
            while not self._jobs.empty():
                self._jobs.get()()
            panel.show([Block(e.title, e.help, e.status, e.image) for e in self.listeners])

    def _hear(self, event: Any) -> None:
        pygame = self._pygame
        keyboards = [each.inputs for each in self.listeners if each.gamepad is None]
        if event.type in (pygame.KEYDOWN, pygame.KEYUP):
            for change in key_changes(event, pygame, self._names):
                for inputs in keyboards:
                    inputs.set(change.name, change.value)
        elif event.type == pygame.WINDOWFOCUSLOST:
            # Keys that are released elsewhere are not heard here.
            for inputs in keyboards:
                inputs.release_all()
        elif event.type == pygame.QUIT:
            for each in self.listeners:
                each.inputs.close()
        elif event.type in (
            pygame.CONTROLLERAXISMOTION,
            pygame.CONTROLLERBUTTONDOWN,
            pygame.CONTROLLERBUTTONUP,
        ):
            pad = gamepad_change(event, pygame)
            for each in self.listeners:
                if pad is not None and each.instance_id == pad.instance_id:
                    each.inputs.set(pad.name, pad.value)
        elif event.type == pygame.CONTROLLERDEVICEREMOVED:
            for each in self.listeners:
                if each.instance_id == event.instance_id:
                    each.instance_id = None
                    each.inputs.set_connected(False)
            self._gamepads.close(event.instance_id)
        elif event.type == pygame.CONTROLLERDEVICEADDED:
            self._plug_in_again(event.device_index)

    def _add(self, listener: Listener) -> None:
        if listener.gamepad is not None and not self._plug_in(listener):
            num = self._gamepads.count()
            raise BackendUnavailableError(
                f"There is no gamepad {listener.gamepad}: {num} plugged in that SDL knows"
                + (f", 0 to {num - 1}" if num else "")
                + ". Plug it in, and check that this user may read /dev/input/event*."
            )
        self.listeners.append(listener)

    def _plug_in(self, listener: Listener) -> bool:
        taken = self._instance_ids(
            each for each in self.listeners if each.gamepad != listener.gamepad
        )
        listener.instance_id = self._gamepads.open(listener.gamepad or 0, taken=taken)
        plugged_in = listener.instance_id is not None
        listener.inputs.set_connected(plugged_in)
        return plugged_in

    def _plug_in_again(self, device_index: int) -> None:
        """A gamepad is there: it is that of the first number that has lost its own."""
        lost = [e for e in self.listeners if e.gamepad is not None and e.instance_id is None]
        if not lost:
            return
        number = min(each.gamepad or 0 for each in lost)
        taken = self._instance_ids(self.listeners)
        instance_id = self._gamepads.open_new(device_index, taken=taken)
        if instance_id is None:
            return
        for each in lost:
            if each.gamepad == number:
                each.instance_id = instance_id
                each.inputs.set_connected(True)

    @staticmethod
    def _instance_ids(listeners: Iterable[Listener]) -> set[int]:
        return {each.instance_id for each in listeners if each.instance_id is not None}

    def _remove(self, listener: Listener) -> None:
        if listener in self.listeners:
            self.listeners.remove(listener)


def _display_is_there() -> bool:
    # SDL_VIDEODRIVER is how one says that a window is not to be shown, as tests do.
    names = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    return any(os.environ.get(name) for name in names)


@contextlib.contextmanager
def _opened_sdl(pygame: Any, *, window: bool) -> Iterator[SdlPanel]:
    settings = {"SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS": "1"}
    if not window:
        settings["SDL_VIDEODRIVER"] = "dummy"  # gamepads are heard without a display
    controller = pygame._sdl2.controller
    try:
        with environment(settings):
            pygame.display.init()
            pygame.joystick.init()
            controller.init()
        yield SdlPanel(pygame)
    finally:
        controller.quit()
        pygame.joystick.quit()
        pygame.display.quit()
