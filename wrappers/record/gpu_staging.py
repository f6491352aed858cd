"""What is recorded on a GPU, copied to the host a block at a time beside the computation."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import torch

from holdstep.errors import RecordingError
from holdstep.wrappers.record.staging import BlockTensors, memory_of

if TYPE_CHECKING:
    from holdstep.wrappers.record.ring import BlockRing, Filled

_NUM_BLOCKS = 2
# A copy is not interrupted: what a simulator reads back meanwhile, a word or two in every step,
# waits until it ends. So much takes about 0.1 ms.
_COPY_BYTES = 4 << 20


class GpuStaging:
    """What is recorded fills one of two blocks of GPU memory, while the other one is copied.

    No call waits for the GPU, except :meth:`oldest_arrived` if told to, and :meth:`close`. Three
    things may touch a block of GPU memory, each after the one before, and the GPU keeps that order:

    - kernels that fill it, on the stream that is current then;
    - the copy, on a stream of its own that waits for an event recorded after the last of them;
    - the kernels that fill it the next time, whose stream waits for the copy's event.

    The ring's memory is locked in place and known to the driver, without which copies would not run
    beside the computation. It belongs to the copy until :meth:`oldest_arrived`. GPU memory in use
    is two blocks, whatever the length of an episode.

    Args:
        ring: the blocks on the host.
        device: the GPU.

    Raises:
        RecordingError: the driver does not take the ring's memory.
    """

    def __init__(self, ring: BlockRing, device: torch.device) -> None:
        self._device = device
        self._pinned = _Pinned(ring)
        try:
            self._allocate(ring)
        except BaseException:  # no room on the GPU, say
            self._pinned.release()
            raise
        self._under_way: deque[Any] = deque()
        self._filling = -1
        self.num_bytes = _NUM_BLOCKS * ring.shape.block_bytes

    def _allocate(self, ring: BlockRing) -> None:
        device, shape = self._device, ring.shape
        self._host = memory_of(ring)
        with torch.inference_mode(False), torch.cuda.device(device):
            self._blocks = [
                BlockTensors(torch.empty_like(memory, device=device), shape)
                for memory in self._host[:1] * _NUM_BLOCKS
            ]
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            # Of the copy out of each block, and of those into the ring that have not arrived.
            self._copied: list[Any] = [torch.cuda.Event() for _ in range(_NUM_BLOCKS)]  # type: ignore[no-untyped-call]

    def open(self, index: int) -> BlockTensors:
        """The next block of GPU memory, as soon as the GPU has copied what was in it."""
        self._filling = (self._filling + 1) % _NUM_BLOCKS
        # An event that was never recorded is not waited for.
        torch.cuda.current_stream(self._device).wait_event(self._copied[self._filling])
        return self._blocks[self._filling]

    def send(self, index: int, filled: Filled) -> None:
        """Copy what is filled into block ``index`` of the ring, beside what comes."""
        self._stream.wait_event(torch.cuda.current_stream(self._device).record_event())
        host, device = self._host[index], self._blocks[self._filling].memory
        with torch.cuda.stream(self._stream):
            for begin, end in filled.ranges:
                for first in range(begin, end, _COPY_BYTES):
                    part = slice(first, min(first + _COPY_BYTES, end))
                    host[part].copy_(device[part], non_blocking=True)
        self._copied[self._filling].record(self._stream)
        arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrival.record(self._stream)
        self._under_way.append(arrival)

    def oldest_arrived(self, *, waits: bool) -> bool:
        """Whether the oldest block that was sent is in the ring; it is not asked for again then."""
        if waits:
            self._under_way[0].synchronize()
        elif not self._under_way[0].query():
            return False
        self._under_way.popleft()
        return True

    def close(self) -> None:
        """Wait for the copies, and give the memory back."""
        self._stream.synchronize()
        self._under_way.clear()
        self._blocks = []
        self._pinned.release()


class _Pinned:
    """The driver's lock on the memory of a ring."""

    def __init__(self, ring: BlockRing) -> None:
        self._address = ring.memory.ctypes.data
        self._memory = ring.memory  # mapped for as long as the driver knows it
        self._runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        code = int(self._runtime.cudaHostRegister(self._address, ring.memory.nbytes, 0))
        if code:
            self._address = 0
            raise RecordingError(
                f"The GPU's driver can't lock {ring.memory.nbytes} bytes of host memory (CUDA "
                f"error {code}), which copies beside the computation need. Give the recorder a "
                "smaller max_queue_bytes, or the process a larger limit of locked memory "
                "(ulimit -l)."
            )

    def release(self) -> None:
        """Unlock it."""
        if self._address:
            self._runtime.cudaHostUnregister(self._address)
            self._address = 0
