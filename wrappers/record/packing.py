"""The columns of all rows into a slot, with one concatenation for each of its planes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from holdstep.wrappers.record.sources import Frame, Source, checked, source_of

if TYPE_CHECKING:
    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.record.columns import Column, RowLayout
    from holdstep.wrappers.record.staging import Slot

Success = tuple[torch.Tensor, torch.Tensor]
_Part = Callable[[Frame], torch.Tensor]


class Packer:
    """Writes frames into slots: once, and with nothing kept of the tensors that it is given.

    Words are concatenated as float32, whatever they mean: a copy does not look at them, and torch
    has a fast path for floats only. No method waits for a GPU.

    Args:
        layout: of a row.
        env: the adapter.
    """

    def __init__(self, layout: RowLayout, env: TorchVectorEnv) -> None:
        columns = list(layout)
        words, bytes_ = ([c for c in columns if c.in_words is is_word] for is_word in (True, False))
        self._words = [_part(column, env) for column in words]
        self._bytes = [_part(column, env) for column in bytes_]
        self._obs_words = [_part(column, env) for column in words if column.kind == "observation"]
        self._obs_bytes = [_part(column, env) for column in bytes_ if column.kind == "observation"]
        self._obs_words_place = layout.observation_words
        self._obs_bytes_place = layout.observation_bytes
        self._on_cpu = env.device.type == "cpu"
        self._num_envs = env.num_envs
        with torch.inference_mode(False):
            never = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        self._unreported = (never, never)

    def step(self, slot: Slot, frame: Frame, active: torch.Tensor, success: Success | None) -> None:
        """A step of the rows.

        Args:
            slot: to be filled.
            frame: of the step.
            active: rows that advanced, bool ``[N]``.
            success: whether rows have succeeded, and of which rows that is known, bool ``[N]``.
        """
        if torch.is_grad_enabled():  # nothing else here would be, and the context costs 4 us
            with torch.no_grad():
                self.step(slot, frame, active, success)
            return
        if self._words:
            torch.cat([part(frame) for part in self._words], 1, out=slot.words)
        if self._bytes:
            torch.cat([part(frame) for part in self._bytes], 1, out=slot.bytes_)
        flags: Any = (active, frame.terminated, frame.truncated, *(success or self._unreported))
        torch.cat(flags, out=slot.flags)

    def observations(self, slot: Slot, frame: Frame, rows_mask: torch.Tensor) -> None:
        """First or final observations of some rows; the slot has nothing of the others.

        Args:
            slot: to be filled.
            frame: with the observations.
            rows_mask: the rows, bool ``[N]``.
        """
        slot.flags[: self._num_envs].copy_(rows_mask)  # the others mean nothing here
        # Where looking costs nothing, only what is meant is copied: rows end one at a time.
        rows = rows_mask.nonzero().squeeze(1) if self._on_cpu else None
        if rows is not None and len(rows) == self._num_envs:
            rows = None
        with torch.no_grad():
            _place(slot.words[:, self._obs_words_place], self._obs_words, frame, rows)
            _place(slot.bytes_[:, self._obs_bytes_place], self._obs_bytes, frame, rows)

    def gap(self, slot: Slot, stepped: torch.Tensor, num_ended: torch.Tensor) -> None:
        """What was not recorded.

        Args:
            slot: to be filled.
            stepped: rows that took a step in the episode that they are in, bool ``[N]``.
            num_ended: how many episodes of each row ended, int32 ``[N]``.
        """
        flags = slot.flags.view(torch.uint8).view(-1, self._num_envs)
        flags[0].copy_(stepped)
        flags[1:].copy_(num_ended.view(torch.uint8).view(-1, 4).t())


def _place(
    out: torch.Tensor, parts: Sequence[_Part], frame: Frame, rows: torch.Tensor | None
) -> None:
    if not parts:
        return
    values = [part(frame) for part in parts]
    if rows is None:
        out.copy_(torch.cat(values, 1))
    else:
        chosen = [value.index_select(0, rows) for value in values]
        out.index_copy_(0, rows, torch.cat(chosen, 1))


def _part(column: Column, env: TorchVectorEnv) -> _Part:
    """What reads a column from a frame as ``[N, units]`` of its plane's type."""
    source: Source = checked(column, source_of(column, env), env)
    plane = torch.float32 if column.in_words else torch.uint8
    if getattr(torch, column.dtype) is not plane:
        shape = (env.num_envs, math.prod(column.shape))
        # Where a dimension has one element, what is contiguous may still have any stride in it,
        # and a view of other elements takes none but 1 in the last.
        strides = (shape[1], 1)
        return lambda frame: source(frame).contiguous().as_strided(shape, strides).view(plane)
    if not column.shape:
        return lambda frame: source(frame).unsqueeze(1)
    return source if len(column.shape) == 1 else lambda frame: source(frame).flatten(1)
