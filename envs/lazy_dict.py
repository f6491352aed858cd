"""Dictionaries of which some values are made when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import Any, TypeVar

ValueT = TypeVar("ValueT")


class _Pending:
    """What stands in the dictionary for a value that nobody has looked at."""

    def __repr__(self) -> str:
        return "<pending>"


_PENDING: Any = _Pending()


class LazyDict(dict[str, ValueT]):
    """A dictionary like any other, except that values may not exist until they are asked for.

    That is by name, or all of them together: ``dict(values)``, ``values.items()``,
    ``values.values()``, ``values | ...``, ``**values``, copies and pickles hold every value. Names,
    ``len`` and ``in`` make nothing, nor does ``repr``. What was made once stays.

    Args:
        names: all names, in their order.
        ready: the values that are there, by name.
        make: makes the value of a name, and perhaps others that belong to it, by name.

    >>> values = LazyDict(["a", "b"], {"a": 1}, lambda name: {name: 2})
    >>> values.pending, values["b"], values.pending
    (('b',), 2, ())
    """

    def __init__(
        self,
        names: Iterable[str],
        ready: Mapping[str, ValueT],
        make: Callable[[str], Mapping[str, ValueT]],
    ) -> None:
        super().__init__(dict.fromkeys(names, _PENDING))
        for name, value in ready.items():
            if name in self:
                self[name] = value
        self._make = make

    @property
    def pending(self) -> tuple[str, ...]:
        """Names of the values that nobody has looked at."""
        return tuple(name for name, value in super().items() if value is _PENDING)

    def __getitem__(self, name: str) -> ValueT:
        value = super().__getitem__(name)
        if value is _PENDING:
            for made, one in self._make(name).items():
                if super().get(made) is _PENDING:
                    self[made] = one
            value = super().__getitem__(name)
        return value

    # Without an __iter__ of its own, dict(values), **values and values | other would copy the
    # memory of a dictionary without calling anything.
    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of this name, or ``default``."""
        if name not in self:
            return default
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """Take a value out."""
        if name in self:
            self[name]
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, ValueT]:
        """Take the last value out."""
        self._make_all()
        return super().popitem()

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The value of this name; ``default`` is put there where there is none."""
        if name not in self:
            self[name] = default
        return self[name]

    def items(self) -> ItemsView[str, ValueT]:  # type: ignore[override]
        """Names and values."""
        self._make_all()
        return super().items()

    def values(self) -> ValuesView[ValueT]:  # type: ignore[override]
        """All values."""
        self._make_all()
        return super().values()

    def copy(self) -> dict[str, ValueT]:
        """An ordinary dictionary of the same values."""
        return dict(self)

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    __hash__ = None

    def __reduce_ex__(self, protocol: object) -> Any:
        return dict, (dict(self),)

    def _make_all(self) -> None:
        for name in self.pending:
            self[name]
