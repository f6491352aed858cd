"""From what an operator presses to actions, orders and a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from holdstep.policies.teleop.devices.driving_state import DrivingState
from holdstep.wrappers.pipeline.events import NO_EVENTS, ExecutionState, SourceEvents

if TYPE_CHECKING:
    from holdstep.policies.teleop.devices.bindings import Move
    from holdstep.policies.teleop.devices.input_state import InputFrame
    from holdstep.policies.teleop.devices.mapping import ActionMapping


@dataclass(frozen=True, kw_only=True)
class Controlled:
    """What one look at a device comes to.

    Attributes:
        actions: float32 ``[k, A]``; None while the operator is not driving.
        events: what the operator ordered.
        state: whether the operator is driving.
    """

    actions: npt.NDArray[np.float32] | None
    events: SourceEvents
    state: ExecutionState


class OperatorControls:
    """Turns looks at a device into actions; knows nothing of threads or of SDL.

    A tap between two looks counts for one frame. After a pause, a reset, or when the device was
    plugged in again, an input that is held counts for nothing until it was released once:
    otherwise whatever the operator's hand rests on would be a jump at the moment of taking over.
    A device that is gone pauses its rows, and a closed window stops them.

    Args:
        mapping: what inputs mean.
        env_ids: the rows that are driven.
        state: the state to begin in.
        reclutch: whether held inputs have to be released after a pause or reset.
    """

    def __init__(
        self,
        mapping: ActionMapping,
        env_ids: Sequence[int],
        *,
        state: ExecutionState = ExecutionState.RUNNING,
        reclutch: bool = True,
    ) -> None:
        self._mapping = mapping
        self._env_ids = tuple(env_ids)
        self._driving = DrivingState(state)
        self._reclutch = reclutch
        self._neutral, self._low, self._high = (
            np.array(numbers, dtype=np.float64)
            for numbers in (mapping.neutral, mapping.low, mapping.high)
        )
        self._integrated = sorted({move.index for move in mapping.moves if move.integrate})
        self._targets = np.tile(self._neutral, (len(self._env_ids), 1))
        self._on = dict.fromkeys((toggle.input for toggle in mapping.toggles), False)
        self._locked = {move.input for move in mapping.moves} if reclutch else set()
        self._last_time_s: float | None = None

    @property
    def operator_state(self) -> ExecutionState:
        """What the operator wants, whatever the host does."""
        return self._driving.operator

    def update(
        self, frame: InputFrame, *, host_events: SourceEvents = NO_EVENTS, sim_time_s: float = 0.0
    ) -> Controlled:
        """What to do in this frame.

        Args:
            frame: what the operator did since the last one.
            host_events: what happened in the env since then.
            sim_time_s: simulated time [s]; what integrates does so over it.
        """
        self._unlock(frame)
        if host_events.reset:
            self._begin_episodes(host_events.reset_env_ids or self._env_ids, frame)
        # Operators meant what they saw, so theirs come first: "pause" is no answer to a pause of
        # the host's in the same frame.
        events = self._orders(frame)
        for edge in host_events.edges:
            self._host_enters(edge, frame)
        state = self._driving.in_force
        if state is not ExecutionState.RUNNING:
            self._last_time_s = None
            return Controlled(actions=None, events=events, state=state)
        last_s = sim_time_s if self._last_time_s is None else self._last_time_s
        actions = self._actions(frame, elapsed_s=max(sim_time_s - last_s, 0.0))
        self._last_time_s = sim_time_s
        return Controlled(actions=actions, events=events, state=state)

    def _orders(self, frame: InputFrame) -> SourceEvents:
        edges: list[ExecutionState] = []
        reset = discard_last = False
        success: bool | None = None
        for name in frame.pressed:
            if name in self._on and self._runs:
                self._on[name] = not self._on[name]
            for order in self._mapping.commands.get(name, ()):
                if order == "reset":
                    reset = True
                    self._begin_episodes(self._env_ids, frame)
                elif order in ("success", "failure"):
                    success = order == "success"
                elif order == "discard_last":
                    discard_last = True
                else:
                    edges += self._enter(self._driving.ordered(order), frame)
        if frame.closed:
            edges += self._enter(ExecutionState.STOPPED, frame)
        elif not frame.connected and self._driving.operator is ExecutionState.RUNNING:
            edges += self._enter(ExecutionState.PAUSED, frame)
        return SourceEvents(
            reset=reset,
            reset_env_ids=self._env_ids if reset else (),
            success=success,
            discard_last=discard_last,
            edges=tuple(edges),
        )

    @property
    def _runs(self) -> bool:
        return self._driving.in_force is ExecutionState.RUNNING

    def _enter(self, state: ExecutionState | None, frame: InputFrame) -> list[ExecutionState]:
        if state is None:
            return []
        before = self._driving.in_force
        self._driving.operator_enters(state)
        if self._driving.in_force is before:
            return []
        if self._runs:
            self._lock(frame)
        return [self._driving.in_force]

    def _host_enters(self, state: ExecutionState, frame: InputFrame) -> None:
        ran = self._runs
        self._driving.host_enters(state)
        if self._runs and not ran:
            self._lock(frame)

    def _begin_episodes(self, env_ids: Sequence[int], frame: InputFrame) -> None:
        rows = [row for row, env_id in enumerate(self._env_ids) if env_id in env_ids]
        self._targets[rows] = self._neutral
        # What rows share is only begun anew where no row goes on with it.
        if len(rows) == len(self._env_ids):
            self._on = dict.fromkeys(self._on, False)
            self._lock(frame)

    def _lock(self, frame: InputFrame) -> None:
        if self._reclutch:
            self._locked = {
                move.input
                for move in self._mapping.moves
                if move.amount(frame.values.get(move.input, 0.0)) != 0
            }

    def _unlock(self, frame: InputFrame) -> None:
        self._locked -= {
            move.input
            for move in self._mapping.moves
            if move.amount(frame.least.get(move.input, 0.0)) == 0
        }

    def _actions(self, frame: InputFrame, *, elapsed_s: float) -> npt.NDArray[np.float32]:
        held = self._neutral.copy()
        for move in self._mapping.moves:
            amount = self._amount(move, frame)
            if move.integrate:
                self._targets[:, move.index] += amount * move.scale * elapsed_s
            else:
                held[move.index] += amount * move.scale
        for toggle in self._mapping.toggles:
            held[toggle.index] = toggle.on if self._on[toggle.input] else toggle.off
        # Limited where it is kept, so that the way back from a limit is not a wait.
        self._targets = np.clip(self._targets, self._low, self._high)
        actions = np.tile(held, (len(self._env_ids), 1))
        actions[:, self._integrated] = self._targets[:, self._integrated]
        return np.clip(actions, self._low, self._high).astype(np.float32)

    def _amount(self, move: Move, frame: InputFrame) -> float:
        if move.input in self._locked:
            return 0.0
        amount = move.amount(frame.values.get(move.input, 0.0))
        return 1.0 if amount == 0 and move.input in frame.pressed else amount
