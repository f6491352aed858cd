"""Marks on the tensors that an env without managers reads, keeps and writes.

An env of the direct workflow (Isaac Lab's ``DirectRLEnv``, or a class of your own) computes its
observations and targets in ``_get_observations``, ``_pre_physics_step`` and ``_apply_action``. What
a tensor in there is can't be seen from outside; a marker around it says so where it is used::

    def _get_observations(self):
        joint_pos = reads("state:robot:joint_pos", self.joint_pos, unit="rad")
        last_action = recalls("memory:last_action", self.actions)
        return {"policy": torch.cat([joint_pos, last_action], dim=1)}

    def _pre_physics_step(self, actions):
        self.actions = remembers("memory:last_action", actions.clone())

    def _apply_action(self):
        self.effort = writes("write:robot:set_joint_effort_target", 2.0 * self.actions, unit="N m")

Outside an export a marker returns the very tensor it was given: it compares a name with None, makes
nothing, and imports nothing. Under ``torch.compile`` it disappears.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from holdstep.wrappers.export.tensors import MemoryKind, QuaternionOrder


class Listener(Protocol):
    """Who answers markers during an export."""

    def read(self, connection: str, tensor: torch.Tensor, **meaning: Any) -> torch.Tensor:
        """What :func:`reads` returns."""

    def write(self, connection: str, tensor: torch.Tensor, **meaning: Any) -> torch.Tensor:
        """What :func:`writes` returns."""

    def recall(
        self, connection: str, tensor: torch.Tensor, reset: Any, kind: MemoryKind
    ) -> torch.Tensor:
        """What :func:`recalls` returns."""

    def remember(self, connection: str, tensor: torch.Tensor) -> torch.Tensor:
        """What :func:`remembers` returns."""

    def fix(self, name: str, tensor: torch.Tensor, nominal: float | None) -> torch.Tensor:
        """What :func:`constant` returns."""


_listener: Listener | None = None
_thread: int | None = None


def reads(
    connection: str,
    tensor: torch.Tensor,
    *,
    kind: str | None = None,
    unit: str | None = None,
    frame: str | None = None,
    quaternion_order: QuaternionOrder | None = None,
    element_names: Sequence[str] | None = None,
) -> torch.Tensor:
    """Mark a tensor that a host must supply in every step: an input of the exported model.

    Args:
        connection: what it is: ``state:<entity>:<property>``, ``sensor:<name>:<property>``,
            ``command:<name>`` or ``env:<name>``, see :mod:`holdstep.wrappers.export.connections`.
            The same connection may be marked at several places, with the same values.
        tensor: ``[N, ...]``, as it is in this step; any expression.
        kind: what it is physically, such as ``"joint_position"``.
        unit: such as ``"rad"`` or ``"m/s"``; hosts compare it with their own.
        frame: ``"world"``, ``"body"`` or another name.
        quaternion_order: of the quaternions in its last dimension.
        element_names: joints or bodies along its dimension 1; hosts match them by name.

    Returns:
        The same tensor; during an export the model's input in its place.
    """
    if _listener is None or _thread != threading.get_ident():
        return tensor
    return _listener.read(
        connection,
        tensor,
        kind=kind,
        unit=unit,
        frame=frame,
        quaternion_order=quaternion_order,
        element_names=element_names,
    )


def writes(
    connection: str,
    tensor: torch.Tensor,
    *,
    kind: str | None = None,
    unit: str | None = None,
    frame: str | None = None,
    quaternion_order: QuaternionOrder | None = None,
    element_names: Sequence[str] | None = None,
    to: Callable[[torch.Tensor], object] | None = None,
) -> torch.Tensor:
    """Mark a target: an output of the exported model, which a host writes.

    Args:
        connection: ``write:<entity>:<method>``, with ``:<label>`` where several targets go to one
            method.
        tensor: ``[N, ...]``.
        kind: see :func:`reads`.
        unit: see :func:`reads`.
        frame: see :func:`reads`.
        quaternion_order: see :func:`reads`.
        element_names: see :func:`reads`.
        to: called with the tensor outside an export only. The env's own tensors are copies during
            an export, and Isaac Lab's assets take no targets then; whatever else a target would
            reach (a C library, a socket) belongs in here.

    Returns:
        The same tensor.
    """
    if _listener is None or _thread != threading.get_ident():
        if to is not None:
            to(tensor)
        return tensor
    return _listener.write(
        connection,
        tensor,
        kind=kind,
        unit=unit,
        frame=frame,
        quaternion_order=quaternion_order,
        element_names=element_names,
    )


def recalls(
    connection: str,
    tensor: torch.Tensor,
    *,
    reset: float | Sequence[float] | None = None,
    kind: MemoryKind = "action_state",
) -> torch.Tensor:
    """Mark a tensor that the env kept since the last control step: a memory of the model.

    Args:
        connection: ``memory:<name>``.
        tensor: ``[N, ...]``, as it was kept.
        reset: what a row of it is at the beginning of an episode: one number for all entries, or
            the numbers of a row, flattened; None for zeros. The env must do the same.
        kind: what it remembers, for who reads the contract.

    Returns:
        The same tensor; during an export what :func:`remembers` was given in the step before, or in
        this one if that came first.
    """
    if _listener is None or _thread != threading.get_ident():
        return tensor
    return _listener.recall(connection, tensor, reset, kind)


def remembers(connection: str, tensor: torch.Tensor) -> torch.Tensor:
    """Mark what a memory is in the next control step.

    Args:
        connection: ``memory:<name>``, the same as of :func:`recalls`.
        tensor: ``[N, ...]``.

    Returns:
        The same tensor.
    """
    if _listener is None or _thread != threading.get_ident():
        return tensor
    return _listener.remember(connection, tensor)


def constant(name: str, tensor: torch.Tensor, *, nominal: float | None = None) -> torch.Tensor:
    """Mark a tensor that differs between rows and never changes, such as a randomised gain.

    It is baked into the model with one value for all rows, and a warning says so. What is the same
    for all rows needs no mark.

    Args:
        name: as the contract lists it.
        tensor: ``[N, ...]``.
        nominal: what it is without randomisation, which is baked in then; None if that isn't known.

    Returns:
        The same tensor; during an export what is baked in.
    """
    if _listener is None or _thread != threading.get_ident():
        return tensor
    return _listener.fix(name, tensor, nominal)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Markers of this thread are answered by ``listener`` in a ``with`` block."""
    global _listener, _thread
    before = _listener, _thread
    _listener, _thread = listener, threading.get_ident()
    try:
        yield
    finally:
        _listener, _thread = before
