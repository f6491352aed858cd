"""What random functions of Python and NumPy do while rows draw from streams of their own."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from holdstep.envs.state.random_functions import drawable
from holdstep.envs.state.random_kinds import Kind

if TYPE_CHECKING:
    import numpy.typing as npt

    from holdstep.envs.state.random_functions import Original
    from holdstep.envs.state.random_redirect import DrawTarget, Replacement

STREAMS: dict[ModuleType, type] = {random: random.Random, np.random: np.random.RandomState}
"""Modules, and what their functions are methods of: one object that all their callers share."""

_DRAW_NOTHING = frozenset({"seed", "getstate", "setstate", "get_state", "set_state"})


def functions_of(module: ModuleType) -> dict[str, Replacement]:
    """What is called instead of a module's functions that draw from its one stream.

    In a loop over rows they draw from a stream of the row that the loop is at. NumPy's that fill an
    array do as torch's do. Otherwise nothing but the simulator's code says whose number it is: they
    do as ever, and are noticed.
    """
    kind = STREAMS[module]

    def replacement_of(name: str) -> Replacement:
        by_rows = _BY_ROWS.get(name) if kind is np.random.RandomState else None

        def draw(target: DrawTarget, original: Original, *args: Any, **kwargs: Any) -> Any:
            stream = target.stream_of_row(kind)
            if stream is not None:
                return getattr(stream, name)(*args, **kwargs)
            numbers = by_rows(target, *args, **kwargs) if by_rows is not None else None
            if numbers is not None:
                return numbers
            target.drawn_elsewhere(f"{module.__name__}.{name}")
            return original(*args, **kwargs)

        return draw

    return {
        name: replacement_of(name)
        for name, value in vars(module).items()
        if isinstance(getattr(value, "__self__", None), kind) and name not in _DRAW_NOTHING
    }


def _uniform(target: DrawTarget, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
    return None if size is None else low + np.subtract(high, low) * _filled(target, size, Kind.UNIT)


def _normal(target: DrawTarget, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
    if size is None or np.any(np.less(scale, 0)):  # NumPy's error
        return None
    return loc + scale * _filled(target, size, Kind.NORMAL)


def _standard_normal(target: DrawTarget, size: Any = None) -> Any:
    return _normal(target, size=size)


def _random(target: DrawTarget, size: Any = None) -> Any:
    return _uniform(target, size=size)


def _rand(target: DrawTarget, *size: int) -> Any:
    return _uniform(target, size=size or None)


def _randn(target: DrawTarget, *size: int) -> Any:
    return _normal(target, size=size or None)


def _randint(
    target: DrawTarget, low: Any, high: Any = None, size: Any = None, dtype: Any = int
) -> Any:
    low, high = (0, low) if high is None else (low, high)
    if size is None or np.ndim(low) or np.ndim(high) or not drawable(int(low), int(high)):
        return None
    return _filled(target, size, Kind.INTEGER, int(low), int(high) - int(low)).astype(dtype)


_BY_ROWS: dict[str, Callable[..., Any]] = {
    "uniform": _uniform,
    "random": _random,
    "random_sample": _random,
    "rand": _rand,
    "normal": _normal,
    "standard_normal": _standard_normal,
    "randn": _randn,
    "randint": _randint,
}
"""Functions of NumPy with the signatures of the originals; None if they are to be called."""


def _filled(
    target: DrawTarget, size: Any, kind: Kind, a: float = 0.0, b: float = 1.0
) -> npt.NDArray[Any]:
    shape = tuple(np.atleast_1d(size).tolist())
    out = torch.empty(shape, dtype=torch.int64 if kind is Kind.INTEGER else torch.float64)
    return target.fill(out, kind, a, b).numpy()
