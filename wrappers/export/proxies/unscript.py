"""Functions compiled by TorchScript, replaced by their Python source's for a while."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch


class ScriptedFunctions:
    """The scripted functions that modules hold, and what they were compiled from.

    A scripted function is opaque: a tracer records a call of a graph whose data-dependent branches
    it can't see, and other tracers fail at it. Simulators script dozens of helpers for rotations.
    They are found once, when this is made; torch's own are left alone.
    """

    def __init__(self) -> None:
        self._found = [
            (namespace, name, scripted, plain)
            for module in list(sys.modules.values())
            if isinstance(module, ModuleType) and not module.__name__.startswith("torch")
            for namespace in (vars(module),)
            for name, scripted in list(namespace.items())
            if isinstance(scripted, torch.jit.ScriptFunction)
            and (plain := _python_of(scripted)) is not None
        ]

    def __len__(self) -> int:
        """How many names lead to one."""
        return len(self._found)

    @contextlib.contextmanager
    def as_python(self) -> Iterator[None]:
        """Their Python functions in their place, in a ``with`` block."""
        replaced: list[tuple[dict[str, Any], str, Any]] = []
        try:
            for namespace, name, scripted, plain in self._found:
                if namespace.get(name) is scripted:
                    namespace[name] = plain
                    replaced.append((namespace, name, scripted))
            yield
        finally:
            for namespace, name, scripted in replaced:
                namespace[name] = scripted


def _python_of(scripted: Any) -> Callable[..., Any] | None:
    return getattr(scripted, "_torchdynamo_inline", None)
