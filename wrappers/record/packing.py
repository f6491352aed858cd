"""The columns of all rows into memory, with one concatenation for each kind of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from holdstep.wrappers.record.picked_rows import RowPicker
from holdstep.wrappers.record.ring import NUM_FLAGS
from holdstep.wrappers.record.sources import ColumnReader, Convert, Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdstep.envs.contract import TorchVectorEnv
    from holdstep.wrappers.record.columns import Column, RowLayout
    from holdstep.wrappers.record.staging import ObservedRows, Slot

Success = tuple[torch.Tensor, torch.Tensor]


class Packer:
    """Writes frames into a block: once, and with nothing kept of the tensors that it is given.

    Words are concatenated as float32, whatever they mean: a copy does not look at them, and torch
    has a fast path for floats only. Bytes and flags are concatenated together, as bool if they all
    are, since then nothing has to be converted. No method waits for a GPU.

    Args:
        layout: of a row.
        env: the adapter.

    Attributes:
        picker: of rows, on the host.
    """

    def __init__(self, layout: RowLayout, env: TorchVectorEnv) -> None:
        num_envs = env.num_envs
        # Words first, as the layout has them in each of the two planes.
        columns = sorted(layout, key=lambda column: not column.in_words)
        self._num_words = sum(column.in_words for column in columns)
        self._are_truths = all(c.dtype == "bool" for c in columns[self._num_words :])
        bytes_type = torch.bool if self._are_truths else torch.uint8

        def in_step(column: Column) -> Convert | None:
            if column.in_words:
                return _in_rows(column, num_envs, torch.float32)
            return _in_a_row(column, num_envs, bytes_type)

        def in_rows(column: Column) -> Convert | None:
            return _in_rows(column, num_envs, torch.float32 if column.in_words else torch.uint8)

        observed = [column for column in columns if column.kind == "observation"]
        self._num_observed_words = sum(column.in_words for column in observed)
        self._step = ColumnReader(columns, env, in_step)
        self._observed = ColumnReader(observed, env, in_rows)
        self._num_envs = num_envs
        with torch.inference_mode(False):
            never = torch.zeros(num_envs, dtype=torch.bool, device=env.device)
            ids = torch.arange(num_envs, dtype=torch.int32, device=env.device)
            self._env_ids = ids.unsqueeze(1)
            self._id_words = self._env_ids.view(torch.float32)
        self._unreported = (never, never)
        self.picker = RowPicker(
            num_envs,
            num_words=1 + _width(layout.observation_words),
            num_bytes=_width(layout.observation_bytes),
        )

    def step(self, slot: Slot, frame: Frame, success: Success | None) -> None:
        """A step of the rows.

        Args:
            slot: to be filled.
            frame: of the step.
            success: whether rows have succeeded, and of which rows that is known, bool ``[N]``.
        """
        if torch.is_grad_enabled():  # nothing else here would be, and the context costs 4 us
            with torch.no_grad():
                self.step(slot, frame, success)
            return
        values = self._step.read(frame)
        small = values[self._num_words :]
        if self._num_words:
            torch.cat(values[: self._num_words], 1, out=slot.words)
        step = frame.step
        flags = (
            frame.info["active"],
            step["terminated"],
            step["truncated"],
            *(success or self._unreported),
        )
        if self._are_truths:
            small += flags
            torch.cat(small, out=slot.truths)
        else:
            small += [flag.view(torch.uint8) for flag in flags]
            torch.cat(small, out=slot.small)

    def observed(self, out: ObservedRows, frame: Frame, rows: torch.Tensor) -> None:
        """First or last observations of some rows.

        Args:
            out: to be filled.
            frame: with the observations of all rows.
            rows: their ids, int64 ``[k]``; or a mask, bool ``[N]``, with which everything is
                written, and what is not meant is marked, because nobody may look how many they are.
        """
        if torch.is_grad_enabled():
            with torch.no_grad():
                self.observed(out, frame, rows)
            return
        ids = self._id_words
        if rows.dtype is torch.bool:
            ids = torch.where(rows.unsqueeze(1), self._env_ids, -1).view(torch.float32)
        values = self._observed.read(frame)
        num_words = self._num_observed_words
        _place([ids, *values[:num_words]], rows, out.words)
        if num_words < len(values):
            _place(values[num_words:], rows, out.bytes_)

    def picked(self, out: memoryview, frame: Frame, rows: Sequence[int]) -> None:
        """The same, on the host.

        Args:
            out: to be filled.
            frame: with the observations of all rows.
            rows: their ids.
        """
        if torch.is_grad_enabled():
            with torch.no_grad():
                self.picked(out, frame, rows)
            return
        values = self._observed.read(frame)
        num_words = self._num_observed_words
        words = [self._id_words, *values[:num_words]]
        self.picker.copy(rows, words, values[num_words:], out)

    def gap(self, slot: Slot, stepped: torch.Tensor, num_ended: torch.Tensor) -> None:
        """What was not recorded.

        Args:
            slot: to be filled.
            stepped: rows that took a step in the episode that they are in, bool ``[N]``.
            num_ended: how many episodes of each row ended, int32 ``[N]``.
        """
        flags = slot.small[-NUM_FLAGS * self._num_envs :].view(NUM_FLAGS, self._num_envs)
        flags[0].copy_(stepped)
        flags[1:].copy_(num_ended.view(torch.uint8).view(-1, NUM_FLAGS - 1).t())


def _width(part: slice) -> int:
    return int(part.stop - part.start)


def _place(values: list[torch.Tensor], rows: torch.Tensor, out: torch.Tensor) -> None:
    """The rows of all values, one row after the other."""
    if rows.dtype is not torch.bool:
        values = [value.index_select(0, rows) for value in values]
    torch.cat(values, 1, out=out.view(rows.shape[0], -1))


def _in_rows(column: Column, num_envs: int, plane: torch.dtype) -> Convert | None:
    """What makes ``[N, units]`` of its plane's type of a column."""
    if getattr(torch, column.dtype) is not plane:
        # Where a dimension has one element, what is contiguous may still have any stride in it,
        # and a view of other elements takes none but 1 in the last.
        width = math.prod(column.shape)
        return lambda value: (
            value.contiguous().as_strided((num_envs, width), (width, 1)).view(plane)
        )
    if not column.shape:
        return lambda value: value.unsqueeze(1)
    return None if len(column.shape) == 1 else lambda value: value.flatten(1)


def _in_a_row(column: Column, num_envs: int, plane: torch.dtype) -> Convert | None:
    """What makes ``[N * units]`` of its plane's type of a column."""
    if getattr(torch, column.dtype) is not plane:
        size = (num_envs * math.prod(column.shape),)
        return lambda value: value.contiguous().as_strided(size, (1,)).view(plane)
    return None if not column.shape else torch.Tensor.flatten
