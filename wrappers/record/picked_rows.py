"""Observations of a few rows out of those of all, on the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from holdstep.wrappers.record.columns import WORD_BYTES

# Of one plane of all rows. Copying so much takes less time than picking rows out of each column.
_SMALL_BYTES = 1 << 20


class RowPicker:
    """Finds the rows that are meant, and copies their observations.

    Runs in most steps of a large env, right after the simulator, whose caches hold nothing of
    Python or torch: there, the first call of any function takes ten times as long as the next one.
    So this calls what packs a step anyway, ``torch.cat``, and what Python itself is made of.
    Indexing tensors, or arrays, would take longer, though it touches less memory.

    Args:
        num_envs: rows.
        num_words: of a row.
        num_bytes: of a row.
    """

    def __init__(self, num_envs: int, *, num_words: int, num_bytes: int) -> None:
        with torch.inference_mode(False):
            self._mask = torch.zeros(num_envs, dtype=torch.bool)
        self._mask_view = _view(self._mask)
        self._words = _Plane(num_envs, num_words, torch.float32)
        self._bytes = _Plane(num_envs, num_bytes, torch.uint8) if num_bytes else None
        self._row_words_bytes = num_words * WORD_BYTES

    def ids(self, mask: torch.Tensor) -> list[int]:
        """The rows that are set in a mask, bool ``[N]``."""
        torch.cat((mask,), out=self._mask)
        flags = self._mask_view.tobytes()
        env_ids = []
        env_id = flags.find(1)
        while env_id >= 0:
            env_ids.append(env_id)
            env_id = flags.find(1, env_id + 1)
        return env_ids

    def copy(
        self,
        rows: Sequence[int],
        words: list[torch.Tensor],
        bytes_: list[torch.Tensor],
        out: memoryview,
    ) -> None:
        """Copy rows, the words of all of them before their bytes.

        Args:
            rows: their ids.
            words: float32 ``[N, ...]``, of which only the bits count.
            bytes_: uint8 ``[N, ...]``.
            out: memory, which is filled from its beginning.
        """
        self._words.copy(rows, words, out)
        if self._bytes is not None:
            self._bytes.copy(rows, bytes_, out[len(rows) * self._row_words_bytes :])


class _Plane:
    """One type of memory; a small one is put together before rows are copied out of it."""

    def __init__(self, num_envs: int, width: int, dtype: torch.dtype) -> None:
        self._whole: torch.Tensor | None = None
        if num_envs * width * dtype.itemsize <= _SMALL_BYTES:
            with torch.inference_mode(False):
                self._whole = torch.zeros(num_envs, width, dtype=dtype)
            self._whole_views = [(_view(self._whole), width * dtype.itemsize)]

    def copy(self, rows: Sequence[int], values: list[torch.Tensor], out: memoryview) -> None:
        if self._whole is None:
            views = [(_view(value), value[0].nbytes) for value in values]
        else:
            torch.cat(values, 1, out=self._whole)
            views = self._whole_views
        begin = 0
        for row in rows:
            for view, size in views:
                end = begin + size
                out[begin:end] = view[row * size : row * size + size]
                begin = end


def _view(tensor: torch.Tensor) -> memoryview:
    """The memory of a tensor; of a copy, if it is not contiguous."""
    return tensor.detach().contiguous().numpy().data.cast("B")
