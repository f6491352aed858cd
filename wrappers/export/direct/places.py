"""Where in an env's code a tensor is used without a marker."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_EXPORT = str(Path(__file__).parents[1])
_TORCH = str(Path(torch.__file__).parent)
_MOST = 3


@dataclass(frozen=True)
class _Use:
    """One call of a function of torch."""

    memories: frozenset[int]
    result: Any
    place: str


class Uses(TorchFunctionMode):
    """Notes which lines of code give which tensors to functions of torch.

    A view counts as what it is a view of. What is made only to be marked is no use: slices that
    properties return, for example.
    """

    def __init__(self) -> None:
        super().__init__()
        self._uses: list[_Use] = []
        self._marked: list[torch.Tensor] = []

    def mark(self, tensor: torch.Tensor) -> None:
        """A marker was given this tensor."""
        self._marked.append(tensor)

    def place(self, tensor: torch.Tensor | None) -> str:
        """Functions, files and lines, such as ``_get_observations (task.py:31)``."""
        marked = {id(tensor) for tensor in self._marked}
        found = {
            use.place: None
            for use in self._uses
            if tensor is not None
            and _memory(tensor) in use.memories
            and id(use.result) not in marked
        }
        # The last ones are nearest to the result: a property comes before the line that asks it.
        return " and ".join(list(found)[-_MOST:]) or "code that can't be located"

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call ``func`` and note who called it."""
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        result = func(*args, **kwargs)
        is_ours = sys._getframe(1).f_code.co_filename.startswith(_EXPORT)
        if given and not is_ours:
            self._uses.append(_Use(frozenset(map(_memory, given)), result, _caller()))
        return result


def _memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _caller() -> str:
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith((_EXPORT, _TORCH)):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return "an unknown place"
    code = frame.f_code
    return f"{code.co_name} ({Path(code.co_filename).name}:{frame.f_lineno})"
