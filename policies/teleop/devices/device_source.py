"""An input device as a source of actions."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from holdstep.errors import BackendUnavailableError, ConfigError, nearest_names
from holdstep.policies.teleop.devices import sdl_shared
from holdstep.policies.teleop.devices.controls import OperatorControls
from holdstep.policies.teleop.devices.input_state import InputState
from holdstep.policies.teleop.devices.mapping import ActionMapping
from holdstep.policies.teleop.devices.sdl_thread import Listener
from holdstep.wrappers.pipeline.events import ExecutionState
from holdstep.wrappers.pipeline.source import SourceRequest, SourceResult


class DeviceSource(ABC):
    """Drives rows with what an operator presses; see :class:`KeyboardSource` for the arguments.

    All of its rows do the same. A frame takes some 20 us, so ``mode="sync"`` is the natural way to
    step with it, and nothing is ever stale. May be started again; if the device had failed, or the
    operator was not driving, it comes back paused, since nobody may be at hand.
    """

    uses_obs: bool = False

    def __init__(
        self,
        mapping: ActionMapping | Mapping[str, Any],
        *,
        start_paused: bool = False,
        reclutch: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mapping = ActionMapping.of(mapping)
        self._check_inputs(self.mapping.inputs)
        self._begins_paused = start_paused  # the next start
        self._start_paused = start_paused
        self._reclutch = reclutch
        self._clock = clock
        self._listener: Listener | None = None
        self._controls: OperatorControls | None = None

    @property
    def action_dim(self) -> int:
        """Width of an action, A."""
        return self.mapping.action_dim

    def start(self, env_ids: tuple[int, ...]) -> None:
        """Open the device for rows.

        Raises:
            BackendUnavailableError: it is not there, or can't be heard.
        """
        self.stop()
        state = ExecutionState.PAUSED if self._begins_paused else ExecutionState.RUNNING
        self._controls = OperatorControls(
            self.mapping, env_ids, state=state, reclutch=self._reclutch
        )
        rows = ", ".join(str(env_id) for env_id in env_ids)
        listener = Listener(
            inputs=InputState(self._clock),
            gamepad=self._gamepad,
            title=f"{type(self).__name__} drives env {rows}",
            help=tuple(self.mapping.describe()),
            status=state.name,
        )
        sdl_shared.attach(listener)
        self._listener = listener

    def compute(self, request: SourceRequest) -> SourceResult:
        """The action of what is pressed now, for all rows: float32 ``[k, A]`` on the host.

        Raises:
            BackendUnavailableError: the device can't be heard any more.
        """
        if self._listener is None or self._controls is None:
            raise ConfigError(f"{type(self).__name__} was not started: call start(env_ids) first.")
        if self._listener.failure is not None:
            raise BackendUnavailableError(
                f"SDL failed, so {type(self).__name__} hears nothing: {self._listener.failure}. "
                "Start it again."
            ) from self._listener.failure
        frame = self._listener.inputs.take()
        done = self._controls.update(
            frame, host_events=request.host_events, sim_time_s=request.sim_time_s
        )
        self._listener.status = done.state.name
        return SourceResult(
            actions=done.actions,
            events=done.events,
            state=done.state,
            input_time_s=frame.time_s,
        )

    def show(self, image: npt.ArrayLike) -> None:
        """Show an image of the env in the window, so that the operator sees what they do.

        Args:
            image: uint8 ``[H, W, 3]``, such as a frame of ``env.render()``.

        Raises:
            ConfigError: something else.
        """
        picture = np.array(image)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ConfigError(
                f"An image is uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}."
            )
        if self._listener is not None:
            self._listener.image = picture

    def stop(self) -> None:
        """Let go of the device; may be called twice."""
        listener, self._listener = self._listener, None
        if listener is None:
            return  # a start that failed does not change how the next one begins
        assert self._controls is not None
        # What was ordered after the last frame counts, too.
        self._controls.update(listener.inputs.take())
        was_driving = self._controls.operator_state is ExecutionState.RUNNING
        self._begins_paused = self._start_paused or listener.failure is not None or not was_driving
        sdl_shared.detach(listener)

    @property
    @abstractmethod
    def _gamepad(self) -> int | None:
        """The gamepad's number; None for the keyboard."""

    @abstractmethod
    def _check_inputs(self, names: Iterable[str]) -> None:
        """Refuse inputs that the device does not have."""


def check_names(names: Iterable[str], known: Iterable[str], device: str) -> None:
    """Refuse inputs that a device does not have.

    Args:
        names: what a mapping uses.
        known: what there is.
        device: what it is called.

    Raises:
        ConfigError: names the first that does not exist, and those that are like it.
    """
    known = set(known)
    for name in sorted(names):
        if name not in known:
            raise ConfigError(
                f"A {device} has no {name!r}."
                + (nearest_names(name, known) or f" It has: {', '.join(sorted(known))}.")
            )
