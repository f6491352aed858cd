"""Do something to a simulator's managers, then put them back as they were."""

from __future__ import annotations

import random
from abc import ABC
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, Protocol

import numpy as np
import numpy.typing as npt
import torch

Undo = Callable[[], object]

_CONTAINER_MODULES = (
    "mjlab.utils.buffers",
    "mjlab.utils.noise",
    "isaaclab.utils.buffers",
    "isaaclab.utils.modifiers",
    "isaaclab.utils.noise",
)
"""Helper objects that terms own and that hold state of their own."""

_SIMULATORS = ("mjlab", "isaaclab", "isaaclab_newton", "isaaclab_physx")
_PLAIN_BASES = (object, ABC, Generic, Protocol)
_MAX_DEPTH = 3
_MAX_ITEMS = 256


@contextmanager
def preserved(owners: Iterable[object], device: torch.device, *, num_envs: int) -> Iterator[None]:
    """Run a block, then restore what the owners and the random generators held before it.

    Restored are the owners' attributes (added ones are removed, rebound ones point to what they
    did), the contents of their tensors and arrays, the same inside their dictionaries, lists,
    deques, history buffers, delay buffers, modifiers and noise models, what optimizers among them
    train (parameters and moments), and the random number generators of torch (the CPU's and
    ``device``'s), NumPy and Python.

    Objects of classes from the same package as their owner's class are the owner's too, as a filter
    is that somebody wrote for an observation term of theirs; but of the tensors there only those of
    rows, and no containers with hundreds of items. All else that an owner points to (the env, its
    entities, its configuration) is shared, and is left as the block leaves it.

    Costs one copy of those tensors: meant for the steps in which an episode ends.

    Args:
        owners: managers' terms, buffers and other small objects whose attributes are state.
        device: the simulator's device.
        num_envs: number of rows.
    """
    memory = _Memory(num_envs)
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

    def __init__(self, num_envs: int) -> None:
        self._num_envs = num_envs
        self._undo: list[Undo] = []
        self._seen: dict[int, object] = {}  # keeps the objects alive, so that ids stay theirs
        self._package = ""

    def restore(self) -> None:
        # Steps under inference mode leave inference tensors behind, which can be written to in that
        # mode only; ordinary tensors can be written to in both.
        with torch.inference_mode():
            for undo in self._undo:
                undo()

    def note_attributes(self, owner: object) -> None:
        if hasattr(owner, "__dict__") and self._is_new(owner):
            self._package = package_of(type(owner))
            self._note_dict(vars(owner))

    def _is_new(self, value: object) -> bool:
        if id(value) in self._seen:
            return False
        self._seen[id(value)] = value
        return True

    def _note(self, value: Any, depth: int = 0) -> None:
        """Note a value that an owner holds, or an object of the owner's, if ``depth`` is not 0."""
        if value is None or isinstance(value, bool | int | float | str) or not self._is_new(value):
            return
        if isinstance(value, torch.Tensor | np.ndarray):
            if depth == 0 or self._num_envs in value.shape[:2]:
                self._note_array(value)
        elif depth and isinstance(value, dict | list | deque | tuple) and len(value) > _MAX_ITEMS:
            return  # data that somebody has loaded
        elif isinstance(value, dict):
            self._note_dict(value, depth)
        elif isinstance(value, list | deque):
            items = list(value)

            def restore_items() -> None:
                value.clear()
                value.extend(items)

            self._undo.append(restore_items)
            self._note_all(items, depth)
        elif isinstance(value, tuple):
            self._note_all(value, depth)
        elif isinstance(value, torch.Generator):
            self._undo.append(partial(value.set_state, value.get_state()))
        elif isinstance(value, torch.optim.Optimizer):
            for group in value.param_groups:
                self._note_all(group["params"], 0)
            self._note_dict(value.state)
        elif is_container(value):
            self._note_dict(vars(value), depth)
        elif depth < _MAX_DEPTH and is_helper(value, self._package):
            self._note_dict(vars(value), depth + 1)

    def _note_all(self, values: Iterable[Any], depth: int) -> None:
        for value in values:
            self._note(value, depth)

    def _note_array(self, value: torch.Tensor | npt.NDArray[Any]) -> None:
        if isinstance(value, np.ndarray):
            if value.flags.writeable:
                self._undo.append(partial(np.copyto, value, value.copy()))
        elif not is_expanded(value):
            self._undo.append(partial(value.copy_, value.detach().clone()))

    def _note_dict(self, value: dict[Any, Any], depth: int = 0) -> None:
        items = dict(value)

        def restore_bindings() -> None:
            for key in [key for key in value if key not in items]:
                del value[key]
            for key, item in items.items():
                if value.get(key) is not item or key not in value:
                    value[key] = item

        self._undo.append(restore_bindings)
        self._note_all(items.values(), depth)


def is_container(value: object) -> bool:
    """Whether a value is a history buffer, noise model or the like, of a library or derived."""
    bases = type(value).__mro__
    is_ours = any(base.__module__.startswith(_CONTAINER_MODULES) for base in bases)
    return is_ours and hasattr(value, "__dict__")


def is_helper(value: object, package: str) -> bool:
    """Whether an object is of a plain class from a package that is no simulator's.

    Args:
        value: an object that another one holds.
        package: of that other one's class.
    """
    return (
        package not in _SIMULATORS
        and hasattr(value, "__dict__")
        and not isinstance(value, type)
        and all(base in _PLAIN_BASES or package_of(base) == package for base in type(value).__mro__)
    )


def package_of(kind: type) -> str:
    """The outermost package that a class comes from."""
    return kind.__module__.partition(".")[0]


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
