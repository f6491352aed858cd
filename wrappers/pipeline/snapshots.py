"""Copies of what crosses from one thread to another."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import fractions
import uuid
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from holdstep.errors import UncopyableValueError

_IMMUTABLE = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    enum.Enum,
    np.generic,
    torch.dtype,
    torch.device,
    range,
    slice,
    PurePath,
    uuid.UUID,
    fractions.Fraction,
    datetime.date,
    datetime.time,
    datetime.timedelta,
)
_COLLECTIONS = (Mapping, list, tuple, set, frozenset)


def snapshot(value: Any, path: str) -> Any:
    """A copy that nobody else can change.

    Copied are tensors (which lose their gradient's history) and arrays; dicts, lists, tuples, sets
    and dataclasses of what can be copied (other mappings become dicts); and whatever has a method
    ``create_snapshot()``, which is trusted. Arrays of other libraries that speak DLPack become
    tensors. Plain values are shared. A GPU's tensors are copied in its turn, without waiting.

    Args:
        value: to be copied.
        path: what the value is called in an error, such as ``"external_inputs"``.

    Raises:
        UncopyableValueError: naming the place of what can't be copied.

    >>> inputs = {"gain": 2.0, "target": np.zeros(2)}
    >>> copied = snapshot(inputs, "inputs")
    >>> inputs["target"][0] = 1.0
    >>> copied
    {'gain': 2.0, 'target': array([0., 0.])}
    """
    return _copied(value, path, set())


def _copied(value: Any, path: str, above: set[int]) -> Any:
    if isinstance(value, _IMMUTABLE):
        return value
    hook = getattr(value, "create_snapshot", None)
    if callable(hook) and not isinstance(value, type):
        return hook()
    if isinstance(value, torch.Tensor):
        # A normal tensor also under inference_mode(): the source may be in another mode.
        with torch.inference_mode(False):
            return value.detach().clone()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.copy()
    is_record = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if not is_record and not isinstance(value, _COLLECTIONS):
        if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray):
            return torch.utils.dlpack.from_dlpack(value).clone()
        raise _uncopyable(value, path)
    if id(value) in above:
        raise UncopyableValueError(
            f"{path} contains itself, so it can't be copied for a worker. {_ADVICE}", path=path
        )
    above.add(id(value))
    try:
        if isinstance(value, _COLLECTIONS):
            return _collection(value, path, above)
        return _record(value, path, above)
    finally:
        above.remove(id(value))


def _collection(value: Any, path: str, above: set[int]) -> Any:
    if isinstance(value, Mapping):
        return {
            _copied(key, f"a key of {path}", above): _copied(item, f"{path}[{key!r}]", above)
            for key, item in value.items()
        }
    items = [_copied(item, f"{path}[{index}]", above) for index, item in enumerate(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple
        return type(value)(*items)
    kind = next(base for base in (list, tuple, set, frozenset) if isinstance(value, base))
    return kind(items)


def _record(value: Any, path: str, above: set[int]) -> Any:
    names = {field.name for field in dataclasses.fields(value)} | getattr(
        value, "__dict__", {}
    ).keys()
    # Without __init__, which may do more than keep its arguments.
    copied = copy.copy(value)
    for name in sorted(names):
        if hasattr(value, name):
            item = _copied(getattr(value, name), f"{path}.{name}", above)
            object.__setattr__(copied, name, item)
    return copied


def _uncopyable(value: Any, path: str) -> UncopyableValueError:
    kind = "an array of objects" if isinstance(value, np.ndarray) else f"a {_name(value)}"
    return UncopyableValueError(
        f"{path} is {kind}, which can't be copied for a worker that runs beside the env. {_ADVICE}",
        path=path,
    )


def _name(value: Any) -> str:
    kind = type(value)
    return (
        kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    )


_ADVICE = (
    "Give tensors, arrays, plain values, or dicts, lists, tuples and dataclasses of them; give its "
    'class a create_snapshot() that returns a copy; or use mode="sync", which copies nothing.'
)
