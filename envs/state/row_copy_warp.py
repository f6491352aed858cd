"""Copying rows of many tensors in one Warp kernel launch over a table of pointers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import warp as wp
from numpy.typing import NDArray

from holdstep.envs.state.row_memory import RowMemory

if TYPE_CHECKING:
    from holdstep.envs.state.slot import Layout


@dataclass(frozen=True)
class LaunchShape:
    """How the copy is cut into threads.

    Attributes:
        num_lanes: threads that copy a block together, neighbours taking neighbouring words. 1 on a
            CPU, where threads are iterations of a loop, and a block is one ``memcpy``.
        max_run: neighbouring rows that are copied as if they were one, where they lie so. It makes
            up for blocks of a few bytes on a GPU, and for the cost of a thread on a CPU.
    """

    num_lanes: int
    max_run: int


CPU_SHAPE = LaunchShape(num_lanes=1, max_run=2**31 - 1)
CUDA_SHAPE = LaunchShape(num_lanes=8, max_run=4)

_MAX_GROUPS = 4096
"""Runs that a launch has threads of their own for; beyond, threads do several."""

_LIVE, _SAVED, _BLOCK, _STRIDE = range(4)  # rows of the table of strands


@wp.func_native("""
    if (num_lanes == 1) {
        memcpy((void*)dst, (const void*)src, num_bytes);
    } else if (((dst | src | num_bytes) & 7ull) == 0) {
        for (unsigned long long i = lane; i < num_bytes / 8; i += num_lanes)
            ((unsigned long long*)dst)[i] = ((const unsigned long long*)src)[i];
    } else if (((dst | src | num_bytes) & 3ull) == 0) {
        for (unsigned long long i = lane; i < num_bytes / 4; i += num_lanes)
            ((unsigned int*)dst)[i] = ((const unsigned int*)src)[i];
    } else {
        for (unsigned long long i = lane; i < num_bytes; i += num_lanes)
            ((unsigned char*)dst)[i] = ((const unsigned char*)src)[i];
    }
""")  # type: ignore[untyped-decorator]
def _copy_bytes(
    dst: wp.uint64, src: wp.uint64, num_bytes: wp.uint64, lane: int, num_lanes: int
) -> None: ...


@wp.kernel(enable_backward=False)  # type: ignore[untyped-decorator]
def _copy_rows(
    table: wp.uint64,
    num_strands: int,
    runs: wp.uint64,
    num_runs: int,
    num_groups: int,
    num_lanes: int,
    saves: int,
) -> None:
    """A thread copies every ``num_lanes``-th word of every ``num_groups``-th run of a strand."""
    strand, group, lane = wp.tid()  # type: ignore[misc]
    strands = wp.array(ptr=table, shape=(4, num_strands), dtype=wp.int64)
    rows = wp.array(ptr=runs, shape=(num_runs, 2), dtype=wp.int64)
    live = strands[_LIVE, strand]
    saved = strands[_SAVED, strand]
    block = strands[_BLOCK, strand]
    stride = strands[_STRIDE, strand]
    if block == wp.int64(0):
        return
    for run in range(group, num_runs, num_groups):
        first = rows[run, 0]
        num_rows = rows[run, 1]
        num_bytes = block
        if stride == block:  # rows without gaps: one piece
            num_bytes = block * num_rows
            num_rows = wp.int64(1)
        for i in range(int(num_rows)):
            row = first + wp.int64(i)
            there = wp.uint64(live + row * stride)
            here = wp.uint64(saved + row * block)
            if saves != 0:
                _copy_bytes(here, there, wp.uint64(num_bytes), lane, num_lanes)
            else:
                _copy_bytes(there, here, wp.uint64(num_bytes), lane, num_lanes)


class WarpCopier:
    """Copies rows between slots' tensors and the tensors that keep them, all slots at once.

    The work is a table of *strands*: one for each block of a row (see
    :class:`~holdstep.envs.state.row_memory.RowMemory`), so one for most slots and L for a ring of
    L entries. Whoever calls keeps the tensors alive whose addresses are in the table.

    Kernels are launched on torch's current stream. (Warp's own stream waits for torch's default
    stream and the other way round; a user who steps in another stream than that has made the
    simulator's stream wait for it already.)

    Args:
        device: of all tensors.
        shape: how the copy is cut into threads; by the device if None.
    """

    def __init__(self, device: torch.device, shape: LaunchShape | None = None) -> None:
        self._on_cpu = device.type == "cpu"
        self._shape = shape or (CPU_SHAPE if self._on_cpu else CUDA_SHAPE)
        self._device = device
        self._streams: dict[int, Any] = {}
        self._host_table = np.zeros((4, 0), np.int64)
        self._live = self._host_table[_LIVE]
        self._table = torch.empty(0, dtype=torch.int64)
        self._table_changed = False
        self._runs = torch.empty(0, 2, dtype=torch.int64)
        self._put_back: Any = None
        with _quietly():
            wp.init()

    def add_strands(self, saved: torch.Tensor, layout: Layout) -> slice:
        """Room in the table for a slot; nothing is copied before :meth:`point` is called.

        Args:
            saved: where its rows are kept, contiguous; of the shape of the slot's tensor.
            layout: how rows lie in it.
        """
        memory = RowMemory.of(saved, layout)
        assert memory is not None
        start = self._host_table.shape[1]
        added = np.zeros((4, memory.num_blocks), np.int64)
        added[_SAVED] = memory.offsets_from(0) + saved.data_ptr()
        self._host_table = np.concatenate([self._host_table, added], axis=1)
        self._live = self._host_table[_LIVE]
        self._table = torch.empty(0, dtype=torch.int64)
        self._put_back = None
        self._table_changed = True
        return slice(start, start + memory.num_blocks)

    def point(self, strands: slice, pointer: int, memory: RowMemory, first_entry: int) -> None:
        """Say where a slot's tensor is now, and how its rows lie.

        Args:
            strands: what :meth:`add_strands` returned.
            pointer: its address.
            memory: how its rows lie.
            first_entry: the oldest entry of a ring; 0 for other layouts.
        """
        self._host_table[_BLOCK, strands] = memory.block_bytes
        self._host_table[_STRIDE, strands] = memory.row_stride
        self.move(strands, pointer, memory, first_entry)

    def move(self, strands: slice, pointer: int, memory: RowMemory, first_entry: int) -> None:
        """Say where a slot's tensor is now, of which :meth:`point` knows the rest."""
        if memory.num_blocks == 1:
            self._live[strands.start] = pointer  # ten times as fast as the general way
        else:
            np.add(memory.offsets_from(first_entry), pointer, self._live[strands])
        self._table_changed = True

    def leave_out(self, strands: slice) -> None:
        """Copy nothing of a slot until :meth:`point` is called again."""
        self._host_table[_BLOCK, strands] = 0
        self._table_changed = True

    def save(self, env_ids: NDArray[np.int64]) -> None:
        """Copy rows, ascending ``[k]``, from all slots."""
        self._update_table()
        runs = self._on_device(_runs(env_ids, self._shape.max_run))
        if runs.numel() and self._table.numel():
            self._launched(runs, saves=True).launch(stream=self._stream())

    def set_rows(self, env_ids: NDArray[np.int64]) -> None:
        """Say which rows, ascending ``[k]``, :meth:`put_back` is about."""
        self._runs = self._on_device(_runs(env_ids, self._shape.max_run))
        self._put_back = None

    def put_back(self) -> None:
        """Copy the rows back into all slots; waits for no GPU."""
        if self._table_changed:
            self._update_table()
        if self._put_back is None:
            if not (self._runs.numel() and self._table.numel()):
                return
            self._put_back = self._launched(self._runs, saves=False)
        self._put_back.launch(stream=self._stream())

    def _launched(self, runs: torch.Tensor, *, saves: bool) -> Any:
        """A launch that is prepared, and so costs a few microseconds each time."""
        num_strands, num_lanes = self._host_table.shape[1], self._shape.num_lanes
        num_groups = 1 if num_lanes == 1 else min(len(runs), _MAX_GROUPS)
        with _quietly():  # the first launch compiles
            return wp.launch(
                _copy_rows,
                dim=(num_strands, num_groups, num_lanes),
                inputs=[
                    self._table.data_ptr(),
                    num_strands,
                    runs.data_ptr(),
                    len(runs),
                    num_groups,
                    num_lanes,
                    int(saves),
                ],
                device=str(self._device),
                record_cmd=True,
            )

    def _update_table(self) -> None:
        if self._on_cpu:
            if not self._table.numel():  # shares memory from now on
                self._table = torch.from_numpy(self._host_table)
        elif self._table.numel():
            # From pinned memory of its own each time: the last upload may still be under way.
            self._table.copy_(torch.from_numpy(self._host_table).pin_memory(), non_blocking=True)
        else:
            self._table = self._on_device(self._host_table)
        self._table_changed = False

    def _on_device(self, array: NDArray[np.int64]) -> torch.Tensor:
        with torch.inference_mode(False):
            tensor = torch.from_numpy(array)
            if self._on_cpu or not array.size:
                return tensor
            return tensor.pin_memory().to(self._device, non_blocking=True)

    def _stream(self) -> Any:
        if self._on_cpu:
            return None
        torch_stream = torch.cuda.current_stream(self._device)
        stream = self._streams.get(torch_stream.cuda_stream)
        if stream is None:
            stream = self._streams[torch_stream.cuda_stream] = wp.stream_from_torch(torch_stream)
        return stream


def _runs(env_ids: NDArray[np.int64], max_run: int) -> NDArray[np.int64]:
    """Neighbouring rows as ``[first, count]``, int64 ``[R, 2]``."""
    begins = np.diff(env_ids, prepend=-2) != 1
    start_of_run = np.maximum.accumulate(np.where(begins, np.arange(env_ids.size), 0))
    begins = (np.arange(env_ids.size) - start_of_run) % max_run == 0
    starts = np.flatnonzero(begins)
    return np.stack([env_ids[starts], np.diff(starts, append=env_ids.size)], axis=1)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without Warp's lines about devices and modules on standard output."""
    name, value = ("log_level", 30) if hasattr(wp.config, "log_level") else ("quiet", True)
    before = getattr(wp.config, name)
    setattr(wp.config, name, value)
    try:
        yield
    finally:
        setattr(wp.config, name, before)
