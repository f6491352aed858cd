"""Objects that keep tensors of their own, run on copies of them."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import types
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch

from holdstep.errors import DiscoveryError

_MAX_DEPTH = 4
_FOREIGN = {"warp", "mujoco", "mujoco_warp", "numpy", "logging", "threading", "viser", "pxr"}
_SCALARS = (int, float, bool, str, bytes, type(None), Enum, torch.device, torch.dtype)
_CONTAINERS = (dict, list, tuple, deque, set, frozenset)

Substitute = Callable[[str, torch.Tensor], torch.Tensor]
"""What a run sees in place of a tensor: gets the path of the tensor and the tensor."""


@dataclass(frozen=True)
class Holder:
    """An object that keeps tensors: an action term, an observation term that is a class.

    Attributes:
        path: what paths of its tensors begin with, such as ``"action:joint_pos"``.
        obj: the object.
    """

    path: str
    obj: Any


@dataclass(frozen=True)
class Kept:
    """What a holder keeps, at one moment of a run.

    Attributes:
        tensors: by path, such as ``"action:joint_pos._raw_actions"``.
        scalars: numbers, texts and the like by path.
    """

    tensors: dict[str, torch.Tensor]
    scalars: dict[str, Any]


class Isolation:
    """Lets holders run on copies of what they keep, and gives them their own back afterwards.

    Each holder gets another ``__dict__`` for the time of a run, and its own ``__dict__``, the same
    object, when it ends, so that whatever the run set, changed or added is gone. Containers and the
    objects that only a holder refers to are treated alike.

    Args:
        holders: the objects.
        shared: objects that holders merely refer to: the env, its managers, entities, sensors.
    """

    def __init__(self, holders: Collection[Holder], shared: Collection[Any]) -> None:
        self.holders = tuple(holders)
        self._shared = {id(obj) for obj in shared} | {id(holder.obj) for holder in holders}
        self._keep_alive = tuple(shared)
        self._original: list[tuple[Any, dict[str, Any]]] = []

    @contextlib.contextmanager
    def substituted(self, substitute: Substitute) -> Iterator[None]:
        """Holders keep what ``substitute`` gives for each of their tensors, in a ``with`` block."""
        try:
            for holder in self.holders:
                self._isolate(holder.obj, holder.path, substitute, 0, set())
            yield
        finally:
            while self._original:
                obj, attributes = self._original.pop()
                object.__setattr__(obj, "__dict__", attributes)

    def kept(self) -> Kept:
        """What holders keep now."""
        found = Kept({}, {})
        for holder in self.holders:
            self._collect(vars(holder.obj), holder.path, found, 0, {id(holder.obj)})
        return found

    def _isolate(
        self, obj: Any, path: str, substitute: Substitute, depth: int, seen: set[int]
    ) -> None:
        seen.add(id(obj))
        attributes = obj.__dict__
        self._original.append((obj, attributes))
        copies = {
            name: self._copy(value, f"{path}.{name}", substitute, depth + 1, seen)
            for name, value in attributes.items()
        }
        object.__setattr__(obj, "__dict__", copies)

    def _copy(
        self, value: Any, path: str, substitute: Substitute, depth: int, seen: set[int]
    ) -> Any:
        if isinstance(value, torch.Tensor):
            return substitute(path, value)
        if depth > _MAX_DEPTH or isinstance(value, _SCALARS) or id(value) in self._shared:
            return value
        if isinstance(value, _CONTAINERS):
            entries = {
                key: self._copy(entry, f"{path}[{key!r}]", substitute, depth + 1, seen)
                for key, entry in _entries(value)
            }
            return _with_entries(value, entries, path)
        if id(value) not in seen and self._is_owned(value):
            self._isolate(value, path, substitute, depth, seen)
        return value

    def _collect(self, attributes: Any, path: str, found: Kept, depth: int, seen: set[int]) -> None:
        for name, value in attributes.items():
            self._collect_value(value, f"{path}.{name}", found, depth + 1, seen)

    def _collect_value(
        self, value: Any, path: str, found: Kept, depth: int, seen: set[int]
    ) -> None:
        if isinstance(value, torch.Tensor):
            found.tensors[path] = value
        elif isinstance(value, (int, float, bool, str)):
            found.scalars[path] = value
        elif depth > _MAX_DEPTH or isinstance(value, _SCALARS) or id(value) in self._shared:
            return
        elif isinstance(value, _CONTAINERS):
            for key, entry in _entries(value):
                self._collect_value(entry, f"{path}[{key!r}]", found, depth + 1, seen)
        elif id(value) not in seen and self._is_owned(value):
            seen.add(id(value))
            self._collect(vars(value), path, found, depth, seen)

    def _is_owned(self, value: Any) -> bool:
        """Whether an object is a holder's own, and may keep tensors."""
        if isinstance(value, (type, types.ModuleType, types.FunctionType, types.MethodType)):
            return False
        if isinstance(value, torch.nn.Module) or type(value).__module__.split(".")[0] in _FOREIGN:
            return False
        attributes = getattr(value, "__dict__", None)
        return isinstance(attributes, dict) and not _is_config(value)


def _entries(container: Any) -> list[tuple[Any, Any]]:
    """What a container holds, by key or position."""
    return list(container.items() if isinstance(container, Mapping) else enumerate(container))


def _with_entries(container: Any, entries: dict[Any, Any], path: str) -> Any:
    """A container of the same class (and default, or maximal length) with other entries."""
    if isinstance(container, (tuple, frozenset)) and all(
        entries[key] is entry for key, entry in _entries(container)
    ):
        return container  # nothing in it was replaced, and it can't be changed
    try:
        if isinstance(container, tuple):
            make = getattr(type(container), "_make", type(container))  # a named tuple's
            return make(entries.values())
        if isinstance(container, (set, frozenset)):
            return type(container)(entries.values())
        copied = copy.copy(container)
        for key, entry in entries.items():
            copied[key] = entry
    except Exception as error:  # whatever a container of somebody's own raises
        raise DiscoveryError(
            f"{path} is a {type(container).__name__}, of which no copy could be made to run on "
            f"({type(error).__name__}: {error}). Keep tensors in attributes, lists or dictionaries."
        ) from error
    return copied


def _is_config(value: Any) -> bool:
    """Configurations are read by many, and hold nothing that changes."""
    return dataclasses.is_dataclass(value) and type(value).__name__.endswith("Cfg")
