"""Changes to live objects that last as long as a pipeline, and are undone by the same object."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

_MISSING = object()


class Changes:
    """Sets attributes and values, and puts back what was there, last first.

    A step that can't be undone does not keep the others from being undone; its error is raised
    when all were tried.
    """

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()

    def set_attribute(self, obj: Any, name: str, value: Any) -> None:
        """Set ``obj.name``; afterwards it is the same object as before, or missing again."""
        before = vars(obj).get(name, _MISSING)
        self._undo.callback(_set_back, obj, name, before)
        setattr(obj, name, value)

    def set_values(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """Write values into a tensor; afterwards the same tensor has its own again."""
        with torch.inference_mode():  # simulators hold tensors that were made there
            saved = tensor.clone()
            self._undo.callback(_copy_back, tensor, saved)
            tensor.copy_(values.expand_as(tensor))

    def without_gradient(self, tensor: torch.Tensor) -> None:
        """No gradient is asked of a tensor; afterwards it is again, if it was."""
        if tensor.requires_grad and tensor.is_leaf:
            self._undo.callback(tensor.requires_grad_, True)
            tensor.requires_grad_(False)

    def add(self, undo: Callable[[], None]) -> None:
        """Have something else undone."""
        self._undo.callback(undo)

    def undo(self) -> None:
        """Put everything back; may be called again."""
        self._undo.close()


def _set_back(obj: Any, name: str, before: Any) -> None:
    if before is _MISSING:
        delattr(obj, name)
    else:
        setattr(obj, name, before)


def _copy_back(tensor: torch.Tensor, saved: torch.Tensor) -> None:
    with torch.inference_mode():
        tensor.copy_(saved)
