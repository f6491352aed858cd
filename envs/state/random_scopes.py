"""Whose numbers a draw makes: the rows that the running code is about."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

import torch

if TYPE_CHECKING:
    from holdstep.envs.state.random_loops import RowLoop

ScopeIds: TypeAlias = "torch.Tensor | Sequence[int] | slice | None"
"""Rows as simulators name them to their own functions: ids, a bool mask, a slice, None for all."""


class InScope:
    """Puts a scope on a stack while a block runs.

    A class, because a generator with ``contextmanager`` takes five times as long, and simulators
    open scopes in every step.

    Args:
        scopes: the stack.
        scope: what is put on it; nothing if None.
    """

    __slots__ = ("_scope", "_scopes")

    def __init__(self, scopes: list[RowsScope], scope: RowsScope | None) -> None:
        self._scopes = scopes
        self._scope = scope

    def __enter__(self) -> None:
        """Enter the scope."""
        if self._scope is not None:
            self._scopes.append(self._scope)

    def __exit__(self, *exception: object) -> None:
        """Leave it; the scope outside forgets what its code had looked up."""
        if self._scope is not None:
            self._scopes.pop()
            if self._scopes:
                self._scopes[-1].unfollow()


class RowsScope:
    """The rows that a piece of a simulator's code is about, until it returns.

    Args:
        env_ids: the rows; read when something is drawn, not before.
        num_envs: number of rows.
        device: where the streams are.

    Attributes:
        num_rows: how many rows these are.
        is_all: whether these are all rows, in order.
        loops: the loops over rows that the code is in, the innermost one last.
    """

    __slots__ = (
        "_device",
        "_env_ids",
        "_followed",
        "_frame",
        "_ids",
        "_num_envs",
        "is_all",
        "loops",
        "num_rows",
    )

    def __init__(self, env_ids: ScopeIds, num_envs: int, device: torch.device) -> None:
        self._ids: torch.Tensor | None = None
        self._followed: torch.Tensor | None = None
        self._frame: FrameType | None = None
        self.loops: list[RowLoop] = []
        self._num_envs = num_envs
        self._device = device
        if isinstance(env_ids, torch.Tensor):
            if env_ids.dtype == torch.bool:
                env_ids = env_ids.nonzero()  # waits for a GPU
            if env_ids.ndim != 1:
                env_ids = env_ids.reshape(-1)
        elif isinstance(env_ids, slice):
            env_ids = None if env_ids == slice(None) else range(num_envs)[env_ids]
        elif isinstance(env_ids, int):
            env_ids = [env_ids]
        self._env_ids = env_ids
        self.is_all = env_ids is None
        self.num_rows = num_envs if env_ids is None else len(env_ids)

    @property
    def ids(self) -> torch.Tensor | None:
        """The rows, contiguous int64 ``[k]`` on the streams' device; None for all."""
        if self._ids is None and self._env_ids is not None:
            self._ids = as_ids(self._env_ids, self._device)
        return self._ids

    def follow(self, condition: torch.Tensor, found: torch.Tensor, frame: FrameType) -> None:
        """Rows were looked up by the code of ``frame``, which may now draw for them.

        Simulators choose the rows of pushes and the like in the middle of a function, by
        ``(timer < 0).nonzero()``. What was found last counts, until that function returns or goes
        into a scope of its own.

        Args:
            condition: ``[n]``; says something about rows if ``n`` is the number of rows.
            found: indices where it holds, int64 ``[k]`` or ``[k, 1]``.
            frame: of the function that called.
        """
        if condition.ndim == 1 and condition.shape[0] == self._num_envs:
            self._followed = found if found.ndim == 1 else found.squeeze(1)
            self._frame = frame

    def unfollow(self) -> None:
        """Forget what was looked up."""
        self._followed = self._frame = None

    def followed(self, num_rows: int) -> torch.Tensor | None:
        """The rows looked up last, if there are ``num_rows`` and who did it is still running."""
        found = self._followed
        if found is None or found.shape[0] != num_rows or not _is_running(self._frame):
            return None
        return as_ids(found, self._device)

    def is_named_by(self, ids: torch.Tensor, values: list[int] | None = None) -> bool:
        """Whether a tensor is these rows, the first of them, or those that were looked up last.

        Args:
            ids: any tensor.
            values: what is in it, if that is known; else it is only looked whose memory it is.
        """
        if ids.ndim != 1 or not len(ids) or ids.is_floating_point() or ids.dtype is torch.bool:
            return False
        for rows in (self._env_ids, self._followed):
            if isinstance(rows, torch.Tensor) and rows.data_ptr() == ids.data_ptr():
                return True
        if values is None or len(values) != self.num_rows:
            return False
        # A copy on the host, perhaps. By way of NumPy: tensors' own tolist() is what is asking.
        own = range(self._num_envs) if self.ids is None else self.ids.cpu().numpy().tolist()
        return values == list(own)


def as_ids(env_ids: torch.Tensor | Sequence[int], device: torch.device) -> torch.Tensor:
    """Ids as contiguous int64 ``[k]`` on ``device``."""
    return torch.as_tensor(env_ids, dtype=torch.int64, device=device).contiguous()


def location(is_internal: Callable[[str], bool]) -> str:
    """The line of the simulator's code that draws, as ``file:line in function``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_internal(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return "unknown"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def _is_running(frame: FrameType | None) -> bool:
    running: FrameType | None = sys._getframe(1)
    while running is not None:
        if running is frame:
            return True
        running = running.f_back
    return False
