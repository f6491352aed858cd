"""Objects whose attributes are answered by somebody else for a while."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol


class Reader(Protocol):
    """Who answers for intercepted objects."""

    def read(self, obj: Any, name: str) -> Any:
        """What reading ``obj.name`` gives."""

    def assign(self, obj: Any, name: str, value: Any) -> None:
        """What setting ``obj.name`` does."""


class Interception:
    """Gives objects, while a block runs, a subclass of their class that asks a :class:`Reader`.

    A stand-in object would be missed by whoever holds a reference to the real one: terms that look
    entities up when they are made, command terms that keep their robot, closures. The objects
    themselves are asked here, so that every path to them is covered, and checks with
    ``isinstance`` hold. Other threads see them as always.

    Args:
        reader: who answers.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._classes: dict[type, type] = {}
        self._changed: list[tuple[Any, type]] = []
        self._thread: int | None = None
        self._paused = 0

    @property
    def is_active(self) -> bool:
        """Whether the reader is asked now, in this thread."""
        return self._thread == threading.get_ident() and not self._paused

    @contextlib.contextmanager
    def of(self, objects: Iterable[Any]) -> Iterator[None]:
        """Intercept objects in a ``with`` block, together with those that :meth:`add` adds."""
        self._thread = threading.get_ident()
        try:
            for obj in objects:
                self.add(obj)
            yield
        finally:
            self._thread = None
            while self._changed:
                obj, cls = self._changed.pop()
                object.__setattr__(obj, "__class__", cls)

    def add(self, obj: Any) -> None:
        """Intercept one more object until the block ends."""
        cls = type(obj)
        if cls in self._classes.values():
            return
        if cls not in self._classes:
            self._classes[cls] = self._intercepting(cls)
        # Some classes refuse to have attributes set.
        object.__setattr__(obj, "__class__", self._classes[cls])
        self._changed.append((obj, cls))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Objects answer for themselves in a ``with`` block."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def _intercepting(self, cls: type) -> type:
        get, set_ = special_method(cls, "__getattribute__"), special_method(cls, "__setattr__")

        def getattribute(obj: Any, name: str) -> Any:
            if name.startswith("__") or not self.is_active:
                return get(obj, name)
            return self._reader.read(obj, name)

        def setattribute(obj: Any, name: str, value: Any) -> None:
            if name.startswith("__") or not self.is_active:
                set_(obj, name, value)
            else:
                self._reader.assign(obj, name, value)

        namespace = {
            "__slots__": (),  # the same layout, or classes can't be exchanged
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
            "__getattribute__": getattribute,
            "__setattr__": setattribute,
        }
        return type(cls)(cls.__name__, (cls,), namespace)


def special_method(cls: type, name: str) -> Callable[..., Any]:
    """A special method as a class or its nearest base defines it, not bound to anything."""
    method: Callable[..., Any] = getattr(cls, name)
    return method


def real_class(obj: Any) -> type:
    """The class of an object, intercepted or not."""
    cls = type(obj)
    return cls.__mro__[1] if "__getattribute__" in vars(cls) and _is_stand_in(cls) else cls


def _is_stand_in(cls: type) -> bool:
    return bool(vars(cls)["__getattribute__"].__module__ == __name__)


def real_attribute(obj: Any, name: str) -> Any:
    """An attribute as the object's own class gives it, nested reads being answered by the reader.

    Raises:
        AttributeError: it has none of that name.
    """
    cls = real_class(obj)
    try:
        return special_method(cls, "__getattribute__")(obj, name)
    except AttributeError:
        fallback = getattr(cls, "__getattr__", None)
        if fallback is None:
            raise
        return fallback(obj, name)
