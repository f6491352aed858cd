"""Actions are checked where they enter a stack, before a simulator can choke on them."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import torch

from holdstep.errors import InvalidActionError

_STEPS_OF_A_COPY = 4  # from a GPU


class ActionGuard:
    """Checks the type, shape, dtype, device and values of a batch of actions.

    Type, shape, dtype and device are compared on the host and cost about a microsecond. The values
    must be finite, or, where actions are integers, in range. On a CPU they are looked at directly;
    on a GPU that would make every step wait for the device, so the verdict on finiteness is
    accumulated there, copied to pinned memory in the background, and raised at a later call, as
    soon as the copy has arrived. The range of integers is not checked on a GPU.

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
        on_gpu = device.type == "cuda"
        self._deferred = _DeferredVerdict(device) if on_gpu and self._is_float else None
        self._range = None if on_gpu or self._is_float else _integer_range(action_space)

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
            actions = self._from_array(actions)
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
        if actions.layout != torch.strided:
            raise InvalidActionError(
                f"Actions must be a dense tensor, got {actions.layout}. "
                "Convert them with actions.to_dense()."
            )
        if not self._is_float:
            self._check_integers(actions)
            return actions
        if actions.dtype != torch.float32:
            raise InvalidActionError(
                f"Actions must be torch.float32, got {actions.dtype}. "
                "Convert them with actions.float()."
            )
        if self._deferred is not None:
            self._deferred.submit(actions)
        # The sum alone would refuse huge actions; that of good ones is the cheapest look at all.
        elif not math.isfinite(actions.sum().item()) and not actions.isfinite().all():
            raise InvalidActionError(
                f"Actions must be finite; rows {_rows(~actions.isfinite())} hold NaN or infinity. "
                "A policy that gives NaN has usually diverged: look at its loss and its "
                "observations."
            )
        return actions

    def _from_array(self, array: np.ndarray) -> torch.Tensor:
        try:
            # A copy in C order, because torch takes no negative strides.
            return torch.from_numpy(np.array(array, order="C")).to(self._device)
        except (TypeError, ValueError) as error:
            raise InvalidActionError(
                f"Actions must be an array of numbers, got dtype {array.dtype}. "
                "Convert them with actions.astype(...)."
            ) from error

    def _check_integers(self, actions: torch.Tensor) -> None:
        dtype = actions.dtype
        if dtype.is_floating_point or dtype.is_complex or dtype == torch.bool:
            raise InvalidActionError(
                f"The action space is discrete: actions must be integers, got {dtype}."
            )
        if self._range is None:
            return
        low, high = self._range
        values = actions.to(torch.int64)  # torch compares no unsigned integers with signed ones
        outside = (values < low) | (values > high)
        if not outside.any():
            return
        first = tuple(outside.nonzero()[0].tolist())
        raise InvalidActionError(
            f"Actions must lie in the action space; rows {_rows(outside)} do not. The first, "
            f"{values[first].item()}, must be in [{low[first].item()}, {high[first].item()}]."
        )


class _DeferredVerdict:
    """The largest absolute action of each step, kept on a GPU and read back without waiting for it.

    Every step launches one reduction; only every few steps is the result copied to the host, since
    a copy, and the event that tells of its arrival, cost as much as all the rest.

    The device owns ``_recent`` and ``_worst``; ``_pinned`` belongs to the copy in flight from
    ``record`` until ``query`` says that it has arrived, and to the host otherwise.
    """

    def __init__(self, device: torch.device) -> None:
        with torch.inference_mode(False):
            self._recent = torch.zeros(_STEPS_OF_A_COPY, device=device)
            self._slots = self._recent.unbind()
            self._worst = torch.zeros((), device=device)  # of all steps but the recent ones
            self._pinned = torch.zeros((), pin_memory=True)
        self._device = device
        self._event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._in_flight = False
        self._num_recent = 0

    def submit(self, actions: torch.Tensor) -> None:
        if actions.numel() == 0:  # of no numbers there is no largest one
            return
        if self._in_flight and self._event.query():
            self._in_flight = False
            if not math.isfinite(self._pinned.item()):
                self._worst.zero_()
                raise InvalidActionError(
                    "Actions of a recent step held NaN or infinity (on a GPU this is noticed a few "
                    "steps late, so that steps need not wait). Check the policy's output with "
                    "torch.isfinite(actions).all() to find the step."
                )
        # Of NaN and infinity, the norm is that; one reduction, without a temporary.
        slot = self._slots[self._num_recent]
        torch.linalg.vector_norm(actions.detach(), ord=math.inf, out=slot)
        self._num_recent += 1
        if self._num_recent == _STEPS_OF_A_COPY:
            self._num_recent = 0
            self._copy()

    def _copy(self) -> None:
        # maximum() passes NaN on, so one bad step marks all later ones until it is reported.
        torch.maximum(self._worst, self._recent.amax(), out=self._worst)
        if not self._in_flight:
            self._pinned.copy_(self._worst, non_blocking=True)
            # On the stream that copies: the current device may be another one.
            self._event.record(torch.cuda.current_stream(self._device))
            self._in_flight = True


def _integer_range(space: gymnasium.Space[Any]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The least and greatest action, int64 of the space's shape; None where that is unknown."""
    low: Any
    high: Any
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        low, high = space.start, space.start + space.nvec - 1
    elif isinstance(space, gymnasium.spaces.Discrete):
        low, high = space.start, space.start + space.n - 1
    elif isinstance(space, gymnasium.spaces.MultiBinary):
        low, high = np.zeros(space.shape), np.ones(space.shape)
    elif isinstance(space, gymnasium.spaces.Box) and space.dtype != np.uint64:  # int64 holds it
        low, high = space.low, space.high
    else:
        return None
    with torch.inference_mode(False):
        return torch.tensor(np.int64(low)), torch.tensor(np.int64(high))


def _rows(mask: torch.Tensor) -> str:
    """The rows of a mask ``[N, ...]`` in which any entry is set, for a message."""
    return _shortened(mask.reshape(len(mask), -1).any(dim=1).nonzero().squeeze(-1).tolist())


def _shortened(rows: list[int], limit: int = 8) -> str:
    shown = ", ".join(str(row) for row in rows[:limit])
    return f"[{shown}, ... {len(rows) - limit} more]" if len(rows) > limit else f"[{shown}]"
