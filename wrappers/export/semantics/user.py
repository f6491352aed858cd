"""What users say about quantities of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from holdstep.errors import ConfigError
from holdstep.wrappers.export.semantics.entry import Semantics, Table

_registered: dict[str, dict[str, Semantics]] = {}


def register_semantics(path: str, entries: Mapping[str, Semantics]) -> None:
    """Say what properties or methods of a class mean, of this process's exports from now on.

    Subclasses have them too. They come before what holdstep knows itself, entry by entry.

    Args:
        path: dotted path of the class, such as ``"my_package.robot.MyRobotData"``. The class is
            not imported.
        entries: by attribute, made with :func:`state`, :func:`const`, :func:`command`,
            :func:`write` or :func:`refused` of :mod:`holdstep.wrappers.export.semantics.entry`. An
            attribute ``"*"`` that is refused refuses the whole class.

    Raises:
        ConfigError: the path isn't one, or an entry isn't a :class:`Semantics`.

    >>> from holdstep.wrappers.export.semantics.entry import state
    >>> register_semantics("my_package.Rotor", {"thrust": state("thrust", "N")})
    >>> unregister_semantics("my_package.Rotor")
    """
    if "." not in path or not all(part.isidentifier() for part in path.split(".")):
        raise ConfigError(f"A class path looks like 'package.module.Class', got {path!r}.")
    for name, entry in entries.items():
        if not isinstance(entry, Semantics):
            raise ConfigError(
                f"{path}.{name} must be a Semantics, made by state(), const(), command(), write() "
                f"or refused(); got {type(entry).__name__}."
            )
    _registered.setdefault(path, {}).update(entries)


def unregister_semantics(path: str) -> None:
    """Forget what was registered for a class; nothing happens if nothing was."""
    _registered.pop(path, None)


@contextlib.contextmanager
def registered_semantics(path: str, entries: Mapping[str, Semantics]) -> Iterator[None]:
    """Semantics that hold inside a ``with`` block only; what was registered before comes back.

    Args:
        path: as for :func:`register_semantics`.
        entries: as for :func:`register_semantics`.
    """
    before = dict(_registered.get(path, {}))
    register_semantics(path, entries)
    try:
        yield
    finally:
        unregister_semantics(path)
        if before:
            _registered[path] = before


def user_table() -> Table:
    """What is registered now."""
    return _registered
