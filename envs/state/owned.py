"""Slots for the row tensors that an object of a simulator's Python side owns."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Collection, Iterator
from types import FunctionType
from typing import Any

import torch

from holdstep.envs.state.slot import RING, Slot

_MAX_DEPTH = 3


class OwnedState:
    """Turns objects into slots: their row tensors, those in their containers, and their buffers.

    Tensors are taken for row state when their leading dimension is the number of rows. What an
    object merely refers to (the env, a manager, an entity) is not its own: only dataclasses,
    containers and the buffers that ``special`` knows are looked into.

    Args:
        num_envs: number of rows.
        shared: objects that are never looked into.
        parameters: names of attributes that only resets and users change.
        constants: names of attributes that nothing changes.
        names_apply: whether those names mean that in an object, and not what a user calls so.
        trusted: whether all tensors of an object whose leading dimension is the number of rows are
            row state, whatever other sizes the task has; others are guesses.
        special: for objects with a layout of their own, their slots; None for other objects. Gets a
            name prefix, a way to look the object up, and the object.
        follow: whether the attributes of such an object are an owner's state too, as those of a
            dataclass are.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        shared: Collection[object] = (),
        parameters: Collection[str] = (),
        constants: Collection[str] = (),
        special: Callable[[str, Callable[[], Any], Any], list[Slot] | None] = lambda *_: None,
        follow: Callable[[object], bool] = lambda _: False,
        names_apply: Callable[[object], bool] = lambda _: True,
        trusted: Callable[[object], bool] = lambda _: False,
    ) -> None:
        self._num_envs = num_envs
        self._shared = {id(obj) for obj in shared}
        self._keep_alive = tuple(shared)
        self._parameters = frozenset(parameters)
        self._constants = frozenset(constants)
        self._special = special
        self._follow = follow
        self._names_apply = names_apply
        self._trusted = trusted
        self.watched: list[object] = []

    def slots(self, prefix: str, owner: object, *, skip: Collection[str] = ()) -> Iterator[Slot]:
        """The slots of one object.

        Args:
            prefix: what their names start with.
            owner: the object.
            skip: attributes to leave out.
        """
        yield from self._object_slots(prefix, lambda: owner, owner, frozenset(skip), 0)

    def shape(self) -> tuple[int, ...]:
        """Changes when the objects that were looked into get tensors or containers they had not.

        Buffers are often made at their first use.
        """
        return tuple(
            sum(
                len(value) if isinstance(value, dict | list | deque) else 1
                for value in vars(owner).values()
                if value is not None and not isinstance(value, FunctionType)  # hooks come and go
            )
            for owner in self.watched
            if hasattr(owner, "__dict__")
        )

    def _object_slots(
        self,
        prefix: str,
        get_owner: Callable[[], Any],
        owner: object,
        skip: Collection[str],
        depth: int,
    ) -> Iterator[Slot]:
        self.watched.append(owner)
        names_apply, is_guess = self._names_apply(owner), not self._trusted(owner)
        for name, value in list(getattr(owner, "__dict__", {}).items()):
            if name in skip or (names_apply and name in self._constants):
                continue
            yield from self.value_slots(
                f"{prefix}.{name}",
                _attribute_of(get_owner, name),
                value,
                depth,
                is_parameter=names_apply and name in self._parameters,
                is_guess=is_guess,
            )

    def value_slots(
        self,
        path: str,
        get: Callable[[], Any],
        value: Any,
        depth: int,
        *,
        is_parameter: bool,
        is_guess: bool = False,
    ) -> Iterator[Slot]:
        """The slots of one value, of whatever kind.

        Args:
            path: what their names start with.
            get: looks the value up.
            value: the value as it is now.
            depth: how far inside an owner it lies.
            is_parameter: for the slots.
            is_guess: for the slots.
        """
        if isinstance(value, torch.Tensor):
            if value.ndim and value.shape[0] == self._num_envs:
                yield Slot(path, get, is_parameter=is_parameter, is_guess=is_guess)
            return
        if value is None or id(value) in self._shared or depth >= _MAX_DEPTH:
            return
        special = self._special(path, get, value)
        if special is not None:
            yield from special
        elif isinstance(value, dict):
            for key, entry in list(value.items()):
                yield from self.value_slots(
                    f"{path}[{key!r}]",
                    _item_of(get, key),
                    entry,
                    depth + 1,
                    is_parameter=is_parameter,
                    is_guess=is_guess,
                )
        elif isinstance(value, list | tuple | deque):
            for index, entry in enumerate(value):
                yield from self.value_slots(
                    f"{path}[{index}]",
                    _item_of(get, index),
                    entry,
                    depth + 1,
                    is_parameter=is_parameter,
                    is_guess=is_guess,
                )
        elif not isinstance(value, type) and (
            dataclasses.is_dataclass(value) or self._follow(value)
        ):
            yield from self._object_slots(path, get, value, (), depth + 1)


def circular_buffer_slots(prefix: str, get: Callable[[], Any]) -> list[Slot]:
    """Slots of a ``CircularBuffer`` with one write position for all rows (mjlab, Isaac Lab 2).

    Args:
        prefix: what their names start with.
        get: looks the buffer up.
    """
    return [
        Slot(
            f"{prefix}._buffer",
            lambda: get()._buffer,
            RING,
            position=lambda: int(get()._pointer),
        ),
        Slot(f"{prefix}._num_pushes", lambda: get()._num_pushes),
    ]


def _attribute_of(get_owner: Callable[[], Any], name: str) -> Callable[[], Any]:
    return lambda: getattr(get_owner(), name, None)


def _item_of(get_container: Callable[[], Any], key: Any) -> Callable[[], Any]:
    def get() -> Any:
        try:
            return get_container()[key]
        except (KeyError, IndexError, TypeError):
            return None

    return get
