"""Finding per-env tensors that no table knows."""

from __future__ import annotations

import inspect
import re
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch

_LEAVES = (
    str,
    bytes,
    int,
    float,
    complex,
    type,
    Enum,
    types.ModuleType,
    types.BuiltinFunctionType,
    torch.Generator,
    torch.device,
    torch.dtype,
    torch.Size,
)
_MAX_ITEMS = 256
"""Containers with more items than this hold no per-env tensors one by one."""


@dataclass(frozen=True)
class FoundTensor:
    """A tensor that may hold state of every row.

    Attributes:
        path: how it was reached, like ``"command_manager._terms['twist'].time_left"``.
        tensor: the tensor.
        owner: the object that holds it, or the containers that it is in.
    """

    path: str
    tensor: torch.Tensor
    owner: object

    @property
    def names(self) -> set[str]:
        """The attributes and keys on the path."""
        return set(re.findall(r"\w+", self.path))

    def __str__(self) -> str:
        dtype = str(self.tensor.dtype).removeprefix("torch.")
        return f"{self.path}: {dtype}{list(self.tensor.shape)}"


def find_tensors(
    root: object, num_envs: int, *, skip: Callable[[object], bool] = lambda _: False
) -> Iterator[FoundTensor]:
    """Tensors reachable from ``root`` one of whose first two dimensions is ``num_envs``.

    Follows attributes, dictionaries, lists, tuples, sets, closures and bound methods; each object
    is visited once, by the shortest path. What is not held by Python objects (a simulator's own
    memory) is not found.

    Args:
        root: the object to start at.
        num_envs: number of rows. Choose one that is no other size of the task for a clear answer.
        skip: objects that are not to be looked into.
    """
    queue: deque[tuple[str, object, object]] = deque([("", root, root)])
    seen = {id(root)}
    keep_alive: list[object] = []  # ids of temporaries would be used again
    while queue:
        path, parent, owner = queue.popleft()
        for name, value in _children(parent):
            if isinstance(value, _LEAVES) or value is None or id(value) in seen:
                continue
            seen.add(id(value))
            keep_alive.append(value)
            child_path = f"{path}{name}".removeprefix(".")
            if isinstance(value, torch.Tensor):
                if num_envs in value.shape[:2]:
                    yield FoundTensor(child_path, value, owner)
            elif not skip(value):
                is_container = isinstance(value, Mapping | list | tuple | set | frozenset | deque)
                queue.append((child_path, value, owner if is_container else value))


def _children(owner: object) -> Iterable[tuple[str, Any]]:
    if isinstance(owner, Mapping):
        if len(owner) <= _MAX_ITEMS:
            yield from ((f"[{key!r}]", value) for key, value in list(owner.items()))
        return
    if isinstance(owner, list | tuple | set | frozenset | deque):
        if len(owner) <= _MAX_ITEMS:
            yield from ((f"[{index}]", value) for index, value in enumerate(list(owner)))
        return
    if isinstance(owner, types.MethodType):
        yield ".__self__", owner.__self__
        yield ".__func__", owner.__func__
        return
    if isinstance(owner, types.FunctionType):
        for name, cell in zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True):
            try:
                yield f".<{name}>", cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        return
    attributes = getattr(owner, "__dict__", None)
    if isinstance(attributes, dict):
        yield from ((f".{name}", value) for name, value in list(attributes.items()))
    for base in type(owner).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            value = inspect.getattr_static(owner, name, None)
            if isinstance(value, types.MemberDescriptorType) and hasattr(owner, name):
                yield f".{name}", getattr(owner, name)


def unknown_tensors(
    root: object,
    known: Iterable[torch.Tensor],
    *,
    num_envs: int,
    is_constant: Callable[[FoundTensor], bool],
    skip: Callable[[object], bool],
) -> list[FoundTensor]:
    """Per-env tensors that no table knows: state of terms of a user's own, as a rule.

    Args:
        root: the simulator's env object.
        known: the tensors of all slots; whatever shares memory with one of them is known too.
        num_envs: number of rows.
        is_constant: whether one that is found is known to hold no state, whatever it looks like.
        skip: objects that are not to be looked into.
    """
    memories = {tensor.untyped_storage().data_ptr() for tensor in known if tensor.numel()}
    return [
        found
        for found in find_tensors(root, num_envs, skip=skip)
        if found.tensor.numel()
        and found.tensor.stride(0) > 0  # 0: one value that all rows share
        and found.tensor.untyped_storage().data_ptr() not in memories
        and not is_constant(found)
    ]
