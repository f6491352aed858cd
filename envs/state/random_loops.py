"""Loops over rows: while a simulator's code is at one of them, what it draws is that row's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from holdstep.envs.state.random_scopes import as_ids

if TYPE_CHECKING:
    import torch

    from holdstep.envs.state.random_functions import Original
    from holdstep.envs.state.random_redirect import DrawTarget, Replacement
    from holdstep.envs.state.random_scopes import RowsScope

T = TypeVar("T")


class RowLoop:
    """Where a ``for`` over rows is.

    Args:
        rows: integers ``[k]``.

    Attributes:
        position: from 0 to ``k - 1``.
        streams: of the row that the loop is at, of Python's and NumPy's kinds, as far as needed.
    """

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows
        self.position = 0
        self.streams: dict[type, Any] = {}

    def row(self, device: torch.device) -> torch.Tensor:
        """The row that it is at, int64 ``[1]``."""
        return as_ids(self._rows[self.position : self.position + 1], device)


class RowList(list[int]):
    """Rows as ``tolist()`` gives them, whose scope knows which one a ``for`` is at."""

    def __init__(self, values: list[int], scope: RowsScope, rows: torch.Tensor) -> None:
        super().__init__(values)
        self._scope = scope
        self._rows = rows

    def __iter__(self) -> Iterator[int]:
        return _in_turn(self._scope, self._rows, super().__iter__())


def _in_turn(scope: RowsScope, rows: torch.Tensor, values: Iterable[T]) -> Iterator[T]:
    loop = RowLoop(rows)
    scope.loops.append(loop)
    try:
        for loop.position, value in enumerate(values):
            loop.streams.clear()
            yield value
    finally:  # also of a loop that was left; not always the innermost one, if two are zipped
        scope.loops.remove(loop)


def _tolist(target: DrawTarget, original: Original, self: torch.Tensor) -> Any:
    values = original(self)
    scope = target.scope
    if scope is None or not scope.is_named_by(self, values):
        return values
    return RowList(values, scope, self)


def _iter(target: DrawTarget, original: Original, self: torch.Tensor) -> Any:
    values = original(self)
    scope = target.scope
    if scope is None or not scope.is_named_by(self):
        return values
    return _in_turn(scope, self, values)


LOOPS: dict[str, Replacement] = {"tolist": _tolist, "__iter__": _iter}
"""Methods of ``torch.Tensor`` that give rows to Python code, which draws for each in turn."""
