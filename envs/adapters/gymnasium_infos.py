"""Gymnasium's vector infos: arrays by key, each with a mask of the rows that it is set for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

_Infos = dict[str, Any]


def infos_to_torch(infos: _Infos, device: torch.device) -> _Infos:
    """Numeric and bool arrays as new tensors, at any depth; everything else as it is."""
    return {key: _to_torch(value, device) for key, value in infos.items()}


def _to_torch(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return infos_to_torch(value, device)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        try:
            return torch.from_numpy(value.copy()).to(device)
        except TypeError:  # a dtype that torch lacks
            return value
    return value


def same_step_infos(step_infos: _Infos, reset_infos: _Infos, ended: np.ndarray) -> _Infos:
    """What ``AutoresetMode.SAME_STEP`` would have returned, from a step and the resets after it.

    A row that ended has the info of its reset, and that of its last step under ``final_info``.

    Args:
        step_infos: of the step, all rows.
        reset_infos: of the reset of the rows that ended.
        ended: bool ``[N]``.
    """
    infos = _merged(_rows_of(step_infos, ~ended), _rows_of(reset_infos, ended))
    return infos | {"final_info": _rows_of(step_infos, ended), "_final_info": ended.copy()}


def _rows_of(infos: _Infos, rows: np.ndarray) -> _Infos:
    """The entries that are set for some of the rows, with the other rows blank.

    A key without a mask counts as set for all rows.
    """
    chosen: _Infos = {}
    for key, value in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        mask = rows & infos.get(f"_{key}", True)
        if not mask.any():
            continue
        if isinstance(value, dict):
            value = _rows_of(value, mask)
        elif _is_batch(value, rows):
            blank = np.full_like(value, None if value.dtype == object else 0)
            blank[mask] = value[mask]
            value = blank
        chosen[key], chosen[f"_{key}"] = value, mask
    return chosen


def _merged(first: _Infos, second: _Infos) -> _Infos:
    """The union of infos of different rows."""
    merged = dict(first)
    for key, value in second.items():
        if key not in first:
            merged[key] = value
        elif isinstance(value, dict) and isinstance(first[key], dict):
            merged[key] = _merged(first[key], value)
        elif f"_{key}" in second:  # a mask's own turn comes by this rule's other branch
            merged[key] = _merged_rows(first[key], value, second[f"_{key}"])
        else:
            merged[key] = first[key] | value
    return merged


def _merged_rows(first: Any, second: Any, in_second: np.ndarray) -> Any:
    if not (_is_batch(first, in_second) and _is_batch(second, in_second)):
        return second
    if first.shape == second.shape and (first.dtype == object) == (second.dtype == object):
        merged = first.astype(np.result_type(first, second))
    else:  # a value whose type or shape differs between a step and a reset
        merged = np.array([*first, None], dtype=object)[:-1]
        second = np.array([*second, None], dtype=object)[:-1]
    merged[in_second] = second[in_second]
    return merged


def _is_batch(value: Any, rows: np.ndarray) -> bool:
    return isinstance(value, np.ndarray) and value.shape[:1] == rows.shape
