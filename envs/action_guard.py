"""Actions are checked where they enter a stack, before a simulator can choke on them."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import torch

from holdstep.errors import InvalidActionError


class ActionGuard:
    """Checks the type, shape, dtype, device and finiteness of a batch of actions.

    Type, shape, dtype and device are compared on the host and cost about a microsecond. Finiteness
    needs the values: on a CPU they are looked at directly; on a GPU that would make every step wait
    for the device, so the verdict is accumulated there, copied to pinned memory in the background,
    and raised at a later call, as soon as the copy has arrived.

    Args:
        action_space: the batched action space; its shape and dtype are what is expected.
        device: where actions must live.
    """

    def __init__(self, action_space: gymnasium.Space[Any], device: torch.device) -> None:
        if action_space.shape is None or action_space.dtype is None:
            raise InvalidActionError(
                f"Only action spaces that are one array are supported, got {action_space}."
            )
        self._shape = torch.Size(action_space.shape)
        self._device = device
        self._is_float = bool(np.issubdtype(action_space.dtype, np.floating))
        self._deferred = _DeferredNorm(device) if device.type == "cuda" else None

    def check(self, actions: torch.Tensor | np.ndarray) -> torch.Tensor:
        """The actions as a tensor, or an error when they cannot be what the caller meant.

        Args:
            actions: a tensor on the env's device. NumPy arrays are copied to it, for callers such
                as TorchRL's ``GymWrapper`` that hand them over by default.

        Returns:
            The same tensor, or the one that the array became.

        Raises:
            InvalidActionError: with what was got, what was expected and what to do. On a GPU,
                non-finite values are reported at a later call than the one that brought them.
        """
        if isinstance(actions, np.ndarray):
            actions = torch.tensor(actions, device=self._device)
        elif not isinstance(actions, torch.Tensor):
            raise InvalidActionError(
                f"Actions must be a torch.Tensor on {self._device}, got {type(actions).__name__}. "
                "Convert them with torch.as_tensor(actions, device=env.device)."
            )
        if actions.shape != self._shape:
            raise InvalidActionError(
                f"Actions must have shape {tuple(self._shape)} (num_envs, action dim), "
                f"got {tuple(actions.shape)}."
            )
        if actions.device != self._device:
            raise InvalidActionError(
                f"Actions must be on {self._device}, got {actions.device}. "
                "Move them with actions.to(env.device)."
            )
        if not self._is_float:
            if actions.dtype.is_floating_point or actions.dtype == torch.bool:
                raise InvalidActionError(
                    f"The action space is discrete: actions must be integers, got {actions.dtype}."
                )
            return actions
        if actions.dtype != torch.float32:
            raise InvalidActionError(
                f"Actions must be torch.float32, got {actions.dtype}. "
                "Convert them with actions.float()."
            )
        if self._deferred is not None:
            self._deferred.submit(actions)
        elif not math.isfinite(_largest(actions).item()):
            rows = (~actions.isfinite()).flatten(1).any(dim=1).nonzero().squeeze(-1).tolist()
            raise InvalidActionError(
                f"Actions must be finite; rows {_shortened(rows)} hold NaN or infinity. A policy "
                "that gives NaN has usually diverged: look at its loss and its observations."
            )
        return actions


class _DeferredNorm:
    """The largest absolute action so far, kept on a GPU and read back without waiting for it.

    The device owns ``_largest``; ``_pinned`` belongs to the copy in flight from ``record`` until
    ``query`` says that it has arrived, and to the host otherwise.
    """

    def __init__(self, device: torch.device) -> None:
        with torch.inference_mode(False):
            self._largest = torch.zeros((), device=device)
            self._pinned = torch.zeros((), pin_memory=True)
        self._event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._in_flight = False

    def submit(self, actions: torch.Tensor) -> None:
        if self._in_flight and self._event.query():
            self._in_flight = False
            if not math.isfinite(self._pinned.item()):
                self._largest.zero_()
                raise InvalidActionError(
                    "Actions of a recent step held NaN or infinity (on a GPU this is noticed a few "
                    "steps late, so that steps need not wait). Check the policy's output with "
                    "torch.isfinite(actions).all() to find the step."
                )
        # maximum() passes NaN on, so one bad step marks all later ones until it is reported.
        torch.maximum(self._largest, _largest(actions), out=self._largest)
        if not self._in_flight:
            self._pinned.copy_(self._largest, non_blocking=True)
            self._event.record()
            self._in_flight = True


def _largest(actions: torch.Tensor) -> torch.Tensor:
    """Largest absolute value, 0-d; NaN when any is. One reduction, no temporary."""
    largest: torch.Tensor = torch.linalg.vector_norm(actions.detach(), ord=math.inf)
    return largest


def _shortened(rows: list[int], limit: int = 8) -> str:
    shown = ", ".join(str(row) for row in rows[:limit])
    return f"[{shown}, ... {len(rows) - limit} more]" if len(rows) > limit else f"[{shown}]"
