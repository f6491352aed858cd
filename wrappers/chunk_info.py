"""The infos of several ticks as the info of one step."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from holdstep.envs.observations import add_final_obs, merge_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdstep.envs.contract import Info, Obs

_FINAL = ("final_obs", "_final_obs", "final_info", "_final_info")
_APART = frozenset({"active", "log", *_FINAL})
"""Entries that have rules of their own."""


class TickInfos:
    """Merges the infos of the ticks of a step.

    An entry with a value per row has, for each row, the value of the last tick in which the row
    advanced and the entry was set for it; its mask is the union of the ticks' masks. Other entries
    have their last value.

    Args:
        num_envs: number of rows; a tensor or array whose first dimension is that has a value per
            row.
    """

    def __init__(self, num_envs: int) -> None:
        self._num_envs = num_envs
        self._merged: Info = {}
        self._log = LogMeans()
        self._final: tuple[torch.Tensor, Obs] | None = None  # of rows that ended: mask and values
        self._final_info: Info = {}
        self._last: Info = {}
        self._any_ended = False

    def add(self, info: Info, *, all_active: bool, num_ended: int) -> None:
        """Take over the info of the next tick.

        Args:
            info: of a step of the env.
            all_active: all rows advanced.
            num_ended: how many rows ended their episode.
        """
        self._last = info
        rows = None if all_active else info["active"]
        if "log" in info:
            self._log.add(info["log"], num_ended)
        self._merge(self._merged, {k: v for k, v in info.items() if k not in _APART}, rows)
        if num_ended:  # in other ticks, the final entries, which may be large, are of no row
            self._any_ended = True
            self._add_final(info, rows)

    def result(self, obs: Obs) -> Info:
        """The info of the step, without ``"active"``.

        Args:
            obs: of the last tick; what rows that did not end have as ``"final_obs"``.
        """
        info = self._merged | self._final_info
        if log := self._log.result():
            info["log"] = log
        if not self._any_ended:
            info |= {key: self._last[key] for key in _FINAL if key in self._last}
        elif self._final is not None:
            mask, final_obs = self._final
            add_final_obs(info, merge_rows(mask, final_obs, obs), mask)
        return info

    def _add_final(self, info: Info, rows: torch.Tensor | None) -> None:
        final_obs: Obs = info.get("final_obs", {})
        if "final_info" in info:
            # The final observations in it are put back at the end.
            others = {k: v for k, v in info["final_info"].items() if k not in final_obs}
            entries = {"final_info": others, "_final_info": info["_final_info"]}
            self._merge(self._final_info, entries, rows)
        if final_obs:
            mask = info["_final_obs"]
            if self._final is None:
                self._final = mask, final_obs
            else:
                before, old = self._final
                self._final = before | mask, merge_rows(mask, final_obs, old)

    def _merge(self, merged: Info, info: Info, rows: torch.Tensor | None) -> None:
        """Merge one level of an info into another; ``rows`` advanced, or all if it is None."""
        for key, value in info.items():
            mask_key = f"_{key}"
            if key.startswith("_") and key[1:] in info:
                continue
            set_for = rows
            if mask_key in info:
                own = torch.as_tensor(info[mask_key])
                set_for = own if rows is None else own & rows
            if key not in merged and mask_key in info:
                merged[mask_key] = set_for
            elif mask_key in merged:
                merged[mask_key] = merged[mask_key] | (True if set_for is None else set_for)
            merged[key] = self._merged_value(merged.get(key), value, set_for)

    def _merged_value(self, old: Any, new: Any, rows: torch.Tensor | None) -> Any:
        if isinstance(new, dict):
            merged = old if isinstance(old, dict) else {}
            self._merge(merged, new, rows)
            return merged
        if rows is None or not (self._is_batch(new) and self._is_batch(old)):
            return new
        if type(old) is not type(new) or old.shape != new.shape:
            return new
        mask = rows.reshape(-1, *[1] * (new.ndim - 1))
        if isinstance(new, torch.Tensor):
            return torch.where(mask, new, old)
        return np.where(mask.cpu().numpy(), new, old)  # what torch has no dtype for

    def _is_batch(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor | np.ndarray) and value.shape[:1] == (self._num_envs,)


class LogMeans:
    """Means of a simulator's statistics over ticks, weighted by how many rows ended in each.

    Simulators log means over the rows that they reset, so that this is the mean over all of those.
    What is no number, or was logged only in ticks in which no row ended, has its last value.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._weights: dict[str, int] = {}

    def add(self, log: Mapping[str, Any], num_ended: int) -> None:
        """Take over what a tick logged."""
        for name, value in log.items():
            weight = self._weights.get(name, 0)
            if num_ended == 0 and weight:
                continue
            if weight and _is_number(value):
                # This form keeps equal values as they are.
                weight += num_ended
                mean = self._values[name]
                self._values[name] = mean + (value - mean) * (num_ended / weight)
                self._weights[name] = weight
            else:
                self._values[name] = value
                self._weights[name] = num_ended if _is_number(value) else 0

    def result(self) -> dict[str, Any]:
        """By name; empty if nothing was logged."""
        return self._values


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.ndim == 0 and value.dtype != torch.bool
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
