"""The columns of all rows into memory, with one concatenation for each kind of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from holdstep.wrappers.record.ring import NUM_FLAGS
from holdstep.wrappers.record.sources import ColumnReader, Convert, Frame

if TYPE_CHECKING:
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
    """

    def __init__(self, layout: RowLayout, env: TorchVectorEnv) -> None:
        num_envs = env.num_envs
        words = [column for column in layout if column.in_words]
        bytes_ = [column for column in layout if not column.in_words]
        self._are_truths = all(column.dtype == "bool" for column in bytes_)

        def in_rows(column: Column) -> Convert | None:
            return _in_rows(column, num_envs, torch.float32 if column.in_words else torch.uint8)

        def in_a_row(column: Column) -> Convert | None:
            return _in_a_row(column, num_envs, torch.bool if self._are_truths else torch.uint8)

        self._words = ColumnReader(words, env, in_rows) if words else None
        self._bytes = ColumnReader(bytes_, env, in_a_row)
        words = [column for column in words if column.kind == "observation"]
        bytes_ = [column for column in bytes_ if column.kind == "observation"]
        self._observed_words = ColumnReader(words, env, in_rows) if words else None
        self._observed_bytes = ColumnReader(bytes_, env, in_rows) if bytes_ else None
        self._on_cpu = env.device.type == "cpu"
        self._num_envs = num_envs
        with torch.inference_mode(False):
            never = torch.zeros(num_envs, dtype=torch.bool, device=env.device)
            ids = torch.arange(num_envs, dtype=torch.int32, device=env.device)
            self._env_ids = ids.unsqueeze(1)
            self._id_words = self._env_ids.view(torch.float32)
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
        if self._words is not None:
            torch.cat(self._words.read(frame), 1, out=slot.words)
        step = frame.step
        small = self._bytes.read(frame)
        flags = (active, step["terminated"], step["truncated"], *(success or self._unreported))
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
        values = [ids]
        if self._observed_words is not None:
            values += self._observed_words.read(frame)
        self._place(values, rows, out.words)
        if self._observed_bytes is not None:
            self._place(self._observed_bytes.read(frame), rows, out.bytes_)

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

    def _place(self, values: list[torch.Tensor], rows: torch.Tensor, out: torch.Tensor) -> None:
        """The rows of all values, one row after the other."""
        num_rows = rows.shape[0]
        if num_rows == 1 and self._on_cpu:  # rows end one at a time; a view is no copy
            row = 0 if rows.dtype is torch.bool else int(rows)
            torch.cat([value[row] for value in values], out=out)
            return
        if rows.dtype is not torch.bool:
            values = [value.index_select(0, rows) for value in values]
        torch.cat(values, 1, out=out.view(num_rows, -1))


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
