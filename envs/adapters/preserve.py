"""Do something to a simulator's managers, then put them back as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Undo = Callable[[], None]

_CONTAINER_MODULES = (
    "mjlab.utils.buffers",
    "mjlab.utils.noise",
    "isaaclab.utils.buffers",
    "isaaclab.utils.noise",
)
"""Helper objects that terms own and that hold state of their own. Everything else that a term
points to (the env, its entities, its configuration) is shared, and is not followed."""


@contextmanager
def preserved(owners: Iterable[object], device: torch.device) -> Iterator[None]:
    """Run a block, then restore what the owners and torch's generators held before it.

    Restored are the owners' tensors (in place, and the attribute itself when it was rebound),
    numbers and flags, the same inside their dictionaries, lists, history buffers, delay buffers
    and noise models, and torch's random number generators of the CPU and of ``device``.

    Costs one copy of those tensors: meant for the steps in which an episode ends.

    Args:
        owners: managers' terms, buffers and other small objects whose attributes are state.
        device: the simulator's device.
    """
    undo: list[Undo] = []
    seen: set[int] = set()
    for owner in owners:
        _note_attributes(owner, undo, seen)
    cpu_rng = torch.get_rng_state()
    cuda_rng = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        yield
    finally:
        for step in undo:
            step()
        torch.set_rng_state(cpu_rng)
        if cuda_rng is not None:
            torch.cuda.set_rng_state(cuda_rng, device)


def _note_attributes(owner: object, undo: list[Undo], seen: set[int]) -> None:
    if id(owner) in seen or not hasattr(owner, "__dict__"):
        return
    seen.add(id(owner))
    attributes = vars(owner)
    for name, value in list(attributes.items()):
        _note(value, undo, seen, put_back=lambda v, n=name: attributes.__setitem__(n, v))


def _note(value: Any, undo: list[Undo], seen: set[int], put_back: Callable[[Any], None]) -> None:
    if isinstance(value, torch.Tensor):
        copy = value.clone()

        def restore_tensor() -> None:
            value.copy_(copy)
            put_back(value)

        undo.append(restore_tensor)
    elif value is None or isinstance(value, bool | int | float):
        undo.append(lambda: put_back(value))
    elif isinstance(value, dict):
        keys = list(value)

        def drop_new_keys() -> None:
            for key in [key for key in value if key not in keys]:
                del value[key]

        undo.append(drop_new_keys)
        for key, item in value.items():
            _note(item, undo, seen, put_back=lambda v, k=key: value.__setitem__(k, v))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _note(item, undo, seen, put_back=lambda v, i=index: value.__setitem__(i, v))
    elif type(value).__module__.startswith(_CONTAINER_MODULES):
        _note_attributes(value, undo, seen)
