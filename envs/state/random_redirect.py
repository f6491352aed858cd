"""Random functions, taken over by single threads."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from holdstep.envs.state.random_kinds import Kind
    from holdstep.envs.state.random_scopes import RowsScope


class DrawTarget(Protocol):
    """Who makes the numbers instead of torch."""

    device: torch.device

    @property
    def scope(self) -> RowsScope | None:
        """The rows that the running code is about, if somebody has said so."""

    def fill(self, out: torch.Tensor, kind: Kind, a: float, b: float) -> torch.Tensor:
        """Fill ``out`` and return it."""

    def shared_units(self, num: int, device: torch.device) -> torch.Tensor:
        """Numbers ``[num]`` that belong to no row, of kind ``UNIT``."""

    def follow(self, condition: torch.Tensor, found: torch.Tensor, frame: FrameType) -> None:
        """The code of ``frame`` looked up where a condition holds: perhaps rows that draw next."""

    def cannot_redirect(self, name: str) -> None:
        """A draw that is left to torch's own stream."""

    def stream_of_row(self, make: type[Any]) -> Any:
        """What ``make(seed)`` made for the row that a loop is at; None if there is no such loop."""

    def drawn_elsewhere(self, name: str) -> None:
        """A draw by a function of Python's or NumPy's, from that one's own stream."""


Replacement = Callable[..., Any]
"""Called as ``replacement(target, original, *args, **kwargs)``."""


class _Current(threading.local):
    """The target of this thread's draws."""

    target: DrawTarget | None = None


_current = _Current()


@contextmanager
def redirected_to(target: DrawTarget) -> Iterator[None]:
    """Let this thread's calls of torch's random functions make the target's numbers.

    Needs :func:`install`. May be nested: the innermost target counts.
    """
    before = _current.target
    _current.target = target
    try:
        yield
    finally:
        _current.target = before


def install(owner: object) -> weakref.finalize[..., Any]:
    """Replace torch's random functions where they are looked up, until all owners are done.

    That is in ``torch`` (``torch.rand``) and on the class ``torch.Tensor`` (``uniform_``); those of
    Python and NumPy are replaced too. As long as a thread is not :func:`redirected_to` anything,
    the replacements call the originals, at some 0.2 microseconds. They stay between steps, because
    each change of a class makes Python forget what it has cached of the class's attributes, and
    from 3.13 on for good after 1000 times.

    A ``TorchFunctionMode`` would need no replacing, and would also see functions that were imported
    by name; but it is asked about every torch call and every attribute of a tensor, at a
    microsecond each, of which a simulator's step has many hundreds.

    Args:
        owner: the functions are replaced as long as it lives, or until the result is called.
    """
    _patches.enter()
    return weakref.finalize(owner, _patches.leave)


class _Patches:
    """What is replaced, as long as somebody needs it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may run inside
        self._num_owners = 0
        self._table: list[tuple[Any, str, Any, Any]] | None = None
        self._modules: dict[str, list[tuple[Any, str, Any, Any]]] = {}
        self._installed: list[tuple[Any, str, Any, Any]] = []

    def enter(self) -> None:
        with self._lock:
            self._num_owners += 1
            if self._num_owners == 1:
                self._install()

    def leave(self) -> None:
        with self._lock:
            self._num_owners -= 1
            if self._num_owners == 0:
                self._remove()

    def _install(self) -> None:
        for entry in self._entries():
            owner, name, original, replacement = entry
            # Left alone where somebody else has replaced the function since.
            if getattr(owner, name) is original:
                setattr(owner, name, replacement)
                self._installed.append(entry)

    def _remove(self) -> None:
        while self._installed:
            owner, name, original, replacement = self._installed.pop()
            if vars(owner).get(name) is not replacement:
                continue
            if owner is torch.Tensor and getattr(torch._C.TensorBase, name, None) is original:
                delattr(owner, name)  # inherited from the C base class
            else:
                setattr(owner, name, original)

    def _entries(self) -> Iterator[tuple[Any, str, Any, Any]]:
        # Imported when needed: these modules import this one's types.
        from holdstep.envs.state import random_elsewhere, random_functions, random_methods
        from holdstep.envs.state.random_loops import LOOPS

        if self._table is None:
            self._table = [
                *_entries(torch, random_functions.FUNCTIONS | random_methods.LOOKUPS),
                *_entries(torch.Tensor, random_methods.METHODS | LOOPS),
            ]
            for source in random_elsewhere.STREAMS:
                self._table += _entries(source, random_elsewhere.functions_of(source))
        yield from self._table
        for name in random_methods.SCRIPTED_MODULES:
            module = sys.modules.get(name)
            if module is not None:
                if name not in self._modules:
                    replacements = random_methods.scripted_functions(module)
                    self._modules[name] = list(_entries(module, replacements))
                yield from self._modules[name]


_patches = _Patches()


def _entries(
    owner: Any, replacements: Mapping[str, Replacement]
) -> Iterator[tuple[Any, str, Any, Any]]:
    for name, replacement in replacements.items():
        original = getattr(owner, name, None)
        if original is not None:
            yield owner, name, original, _for_current_target(name, original, replacement)


def _for_current_target(
    name: str, original: Callable[..., Any], replacement: Replacement
) -> Callable[..., Any]:
    def redirected(*args: Any, **kwargs: Any) -> Any:
        target = _current.target
        if target is None:
            return original(*args, **kwargs)
        return replacement(target, original, *args, **kwargs)

    redirected.__name__ = redirected.__qualname__ = name
    return redirected
