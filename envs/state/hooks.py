"""Methods of single objects, replaced for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_NOTHING = object()


class InstanceHooks:
    """Shadows methods of *instances*, never of classes, and takes every shadow off again.

    A hook that somebody else has replaced in the meantime is left where it is: it calls what it
    was installed over, which is why replacements must work (as a pass-through) after removal.
    """

    def __init__(self) -> None:
        self._installed: list[tuple[Any, str, Any, Any]] = []

    def __bool__(self) -> bool:
        """Whether any hook is installed."""
        return bool(self._installed)

    def shadow(
        self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]
    ) -> None:
        """Replace ``owner.name`` by ``make(original)`` on this instance.

        Args:
            owner: the object.
            name: of the method.
            make: gets the method as it was and returns what is to be called instead.
        """
        before = vars(owner).get(name, _NOTHING)
        replacement = make(getattr(owner, name))
        setattr(owner, name, replacement)
        self._installed.append((owner, name, replacement, before))

    def remove(self) -> None:
        """Give every object back what it had; may be called again."""
        while self._installed:
            owner, name, replacement, before = self._installed.pop()
            if vars(owner).get(name) is not replacement:
                continue
            if before is _NOTHING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
