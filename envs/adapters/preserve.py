"""Do something to a simulator's managers, then put them back as they were."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

Undo = Callable[[], object]

_CONTAINER_MODULES = (
    "mjlab.utils.buffers",
    "mjlab.utils.noise",
    "isaaclab.utils.buffers",
    "isaaclab.utils.modifiers",
    "isaaclab.utils.noise",
)
"""Helper objects that terms own and that hold state of their own. Everything else that a term
points to (the env, its entities, its configuration) is shared, and is not followed."""


@contextmanager
def preserved(owners: Iterable[object], device: torch.device) -> Iterator[None]:
    """Run a block, then restore what the owners and the random generators held before it.

    Restored are the owners' attributes (added ones are removed, rebound ones point to what they
    did), the contents of their tensors and arrays, the same inside their dictionaries, lists,
    deques, history buffers, delay buffers, modifiers and noise models, and the random number
    generators of torch (the CPU's and ``device``'s), NumPy and Python.

    Costs one copy of those tensors: meant for the steps in which an episode ends.

    Args:
        owners: managers' terms, buffers and other small objects whose attributes are state.
        device: the simulator's device.
    """
    memory = _Memory()
    for owner in owners:
        memory.note_attributes(owner)
    restore_generators = noted_generators(device)
    try:
        yield
    finally:
        memory.restore()
        restore_generators()


class _Memory:
    """Contents of objects, and how to put them back."""

    def __init__(self) -> None:
        self._undo: list[Undo] = []
        self._seen: dict[int, object] = {}  # keeps the objects alive, so that ids stay theirs

    def restore(self) -> None:
        # Steps under inference mode leave inference tensors behind, which can be written to in that
        # mode only; ordinary tensors can be written to in both.
        with torch.inference_mode():
            for undo in self._undo:
                undo()

    def note_attributes(self, owner: object) -> None:
        if hasattr(owner, "__dict__") and self._is_new(owner):
            self._note_dict(vars(owner))

    def _is_new(self, value: object) -> bool:
        if id(value) in self._seen:
            return False
        self._seen[id(value)] = value
        return True

    def _note(self, value: Any) -> None:
        if value is None or isinstance(value, bool | int | float | str) or not self._is_new(value):
            return
        if isinstance(value, torch.Tensor):
            self._note_tensor(value)
        elif isinstance(value, np.ndarray):
            if value.flags.writeable:
                self._undo.append(partial(np.copyto, value, value.copy()))
        elif isinstance(value, dict):
            self._note_dict(value)
        elif isinstance(value, list | deque):
            items = list(value)

            def restore_items() -> None:
                value.clear()
                value.extend(items)

            self._undo.append(restore_items)
            self._note_all(items)
        elif isinstance(value, tuple):
            self._note_all(value)
        elif isinstance(value, torch.Generator):
            self._undo.append(partial(value.set_state, value.get_state()))
        elif is_container(value):
            self._note_dict(vars(value))

    def _note_all(self, values: Iterable[Any]) -> None:
        for value in values:
            self._note(value)

    def _note_tensor(self, value: torch.Tensor) -> None:
        if not is_expanded(value):
            self._undo.append(partial(value.copy_, value.clone()))

    def _note_dict(self, value: dict[Any, Any]) -> None:
        items = dict(value)

        def restore_bindings() -> None:
            for key in [key for key in value if key not in items]:
                del value[key]
            for key, item in items.items():
                if value.get(key) is not item or key not in value:
                    value[key] = item

        self._undo.append(restore_bindings)
        self._note_all(items.values())


def is_container(value: object) -> bool:
    """Whether a value is a history buffer, noise model or the like, of a library or derived."""
    bases = type(value).__mro__
    is_ours = any(base.__module__.startswith(_CONTAINER_MODULES) for base in bases)
    return is_ours and hasattr(value, "__dict__")


def is_expanded(value: torch.Tensor) -> bool:
    """Whether several elements share memory, so that nothing can be written through the tensor."""
    return any(
        stride == 0 and size > 1 for stride, size in zip(value.stride(), value.shape, strict=True)
    )


def noted_generators(device: torch.device) -> Undo:
    """What puts the global random number generators back to where they are now.

    Args:
        device: whose generator of torch is noted besides the CPU's.
    """
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    numpy = np.random.get_state()  # the global stream is what simulators draw from
    python = random.getstate()

    def restore() -> None:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
        np.random.set_state(numpy)
        random.setstate(python)

    return restore
