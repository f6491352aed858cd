"""Attributes of HDF5 objects, from and to plain JSON values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5s, h5t

from holdstep.errors import DatasetError

JSON_ATTRIBUTE = "attributes_json"
"""Holds, as one JSON object, the attributes that HDF5 has no type for: lists, objects, None."""

_INT64 = np.iinfo(np.int64)


def write_attributes(object_id: Any, attributes: Mapping[str, Any]) -> None:
    """Write attributes of one object.

    Truth values, integers, floats and texts become attributes of their own, typed as h5py types
    them, so that other tools read them; everything else goes into :data:`JSON_ATTRIBUTE`.

    Args:
        object_id: a low-level group, file or dataset.
        attributes: plain JSON values by name.

    Raises:
        DatasetError: a value is none of JSON's.
    """
    as_json: dict[str, Any] = {}
    for name, value in attributes.items():
        typed = _typed(value)
        if typed is None or "\0" in name or not name:
            as_json[name] = value
        else:
            _write(object_id, name, *typed)
    if not as_json:
        return
    try:
        text = json.dumps(as_json)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"Attributes must be plain JSON values; among {sorted(as_json)} one is not: {error}."
        ) from error
    _write(object_id, JSON_ATTRIBUTE, _TEXT, np.array(text, dtype=_TEXT_DTYPE))


_TEXT_DTYPE = h5py.string_dtype()
_SCALAR = h5s.create(h5s.SCALAR)
_BOOL = h5t.py_create(np.dtype("bool"), logical=True)
_INT = h5t.py_create(np.dtype("int64"))
_FLOAT = h5t.py_create(np.dtype("float64"))
_TEXT = h5t.py_create(_TEXT_DTYPE, logical=True)


def _typed(value: Any) -> tuple[Any, np.ndarray[Any, Any]] | None:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return _BOOL, np.array(value)
    if isinstance(value, int) and _INT64.min <= value <= _INT64.max:
        return _INT, np.array(value, dtype=np.int64)
    if isinstance(value, float):
        return _FLOAT, np.array(value)
    if isinstance(value, str) and "\0" not in value and _encodable(value):
        return _TEXT, np.array(value, dtype=_TEXT_DTYPE)
    return None


def _encodable(text: str) -> bool:
    """Whether a text is UTF-8; JSON can escape what is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write(object_id: Any, name: str, htype: Any, value: np.ndarray[Any, Any]) -> None:
    h5a.create(object_id, name.encode(), htype, _SCALAR).write(value)


def read_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of one object as plain JSON values, whoever wrote them.

    Args:
        attributes: h5py's ``.attrs``.

    Raises:
        ValueError: an attribute is damaged, or of a type that stands for no value.
    """
    plain = {name: _plain(value) for name, value in attributes.items()}
    as_json = plain.pop(JSON_ATTRIBUTE, None)
    if as_json is not None:
        more = json.loads(as_json)
        if not isinstance(more, dict):
            raise ValueError(f"attribute {JSON_ATTRIBUTE!r} is no JSON object")
        plain |= more
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"an attribute holds {type(value).__name__}, which stands for no value")
