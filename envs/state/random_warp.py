"""Row streams in Warp: hash, distribution and counters in one kernel launch a draw."""

# Warp infers what its functions return, and has no types that mypy could check.
# ruff: noqa: ANN202
# mypy: disable-error-code="untyped-decorator,no-untyped-def,misc,valid-type"

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any

import torch
import warp as wp

from holdstep.envs.state.random_kinds import NUM_MULTIPLIED, Kind, advance

if TYPE_CHECKING:
    from holdstep.envs.state.rng import PerEnvRng

MAX_NUMBERS_OF_ROW_THREAD = 64
"""A thread makes up to this many numbers of a row one by one, and then advances its counter. Longer
rows get a thread a number, and a second launch for the counters."""

MAX_THREADS = 2**30
"""Of a launch: Warp counts threads in 32 bits."""

_MIX1 = wp.constant(wp.uint64(0xBF58476D1CE4E5B9))
_MIX2 = wp.constant(wp.uint64(0x94D049BB133111EB))
_LOWER = wp.constant(wp.uint64(0xFFFFFFFF))
_HALF = wp.constant(wp.float64(0.5))
_MINUS_TWO = wp.constant(wp.float64(-2.0))
_TWO_PI = wp.constant(wp.float64(2.0 * math.pi))
_ULP24 = wp.constant(wp.float64(2.0**-24))
_ULP32 = wp.constant(wp.float64(2.0**-32))
_ULP52 = wp.constant(wp.float64(2.0**-52))
_NUM_MULTIPLIED = wp.constant(wp.uint64(NUM_MULTIPLIED))
_UNIFORM = wp.constant(int(Kind.UNIFORM))
_NORMAL = wp.constant(int(Kind.NORMAL))
_INTEGER = wp.constant(int(Kind.INTEGER))


@wp.func
def _bits(start: wp.uint64, step: wp.uint64, index: wp.int64):
    z = start + wp.uint64(index) * step
    z = (z ^ (z >> wp.uint64(30))) * _MIX1
    z = (z ^ (z >> wp.uint64(27))) * _MIX2
    return z ^ (z >> wp.uint64(31))


@wp.func
def _uniform(z: wp.uint64, a: wp.float64, b: wp.float64):
    return wp.float32(wp.float64(z >> wp.uint64(40)) * _ULP24 * b + a)


@wp.func
def _normal(z: wp.uint64, a: wp.float64, b: wp.float64):
    radius = wp.sqrt(_MINUS_TWO * wp.log((wp.float64(z >> wp.uint64(32)) + _HALF) * _ULP32))
    angle = wp.float64(z & _LOWER) * _ULP32 * _TWO_PI
    return wp.float32(radius * wp.cos(angle) * b + a)


@wp.func
def _integer(z: wp.uint64, low: wp.int64, span: wp.uint64):
    if span <= _NUM_MULTIPLIED:
        return low + wp.int64(((z >> wp.uint64(32)) * span) >> wp.uint64(32))
    return low + wp.int64((z >> wp.uint64(1)) % span)


@wp.func
def _unit(z: wp.uint64):
    return (wp.float64(z >> wp.uint64(12)) + _HALF) * _ULP52


@wp.struct
class _Parameters:
    """Of the kernel; the fields of :class:`_HostParameters`, in the same order."""

    counter: wp.uint64
    key: wp.uint64
    gamma: wp.uint64
    out: wp.uint64
    ids: wp.uint64
    a: wp.float64
    b: wp.float64
    low: wp.int64
    span: wp.uint64
    num_streams: wp.int32
    num_rows: wp.int32
    num_each: wp.int32
    num_parts: wp.int32
    num_of_part: wp.int32
    kind: wp.int32
    advances: wp.int32


class _HostParameters(ctypes.Structure):
    """Addresses and sizes of a draw, as the kernel gets them.

    Attributes:
        counter: address of the streams' counters; ``key`` and ``gamma`` likewise.
        out: address of what is filled, ``[num_rows, num_each]``.
        ids: address of the rows' ids; 0 for rows 0 to ``num_rows - 1``.
        a: first parameter of a kind with floating-point ones; ``b`` is the second.
        low: first parameter of integers; ``span`` is the second.
        num_streams: length of ``counter``.
        num_rows: how many rows draw.
        num_each: numbers of a row.
        num_parts: threads that make a row's numbers; only one may advance its counter.
        num_of_part: numbers that a thread makes.
        kind: of numbers.
        advances: whether the thread advances its row's counter.
    """

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("counter", "key", "gamma", "out", "ids")),
        ("a", ctypes.c_double),
        ("b", ctypes.c_double),
        ("low", ctypes.c_int64),
        ("span", ctypes.c_uint64),
        *((name, ctypes.c_int32) for name in ("num_streams", "num_rows", "num_each")),
        *((name, ctypes.c_int32) for name in ("num_parts", "num_of_part", "kind", "advances")),
    ]


@wp.kernel(enable_backward=False)
def _draw(p: _Parameters) -> None:
    """A thread makes some numbers of a row; all of them, where counters advance."""
    thread = wp.tid()
    i = thread
    part = 0
    if p.num_parts > 1:
        i = thread / p.num_parts
        part = thread - i * p.num_parts
    if i >= p.num_rows:
        return
    row = wp.int64(i)
    if p.ids != wp.uint64(0):
        rows = wp.array(ptr=p.ids, shape=(p.num_rows,), dtype=wp.int64)
        row = rows[i]
    counter = wp.array(ptr=p.counter, shape=(p.num_streams,), dtype=wp.int64)
    keys = wp.array(ptr=p.key, shape=(p.num_streams,), dtype=wp.int64)
    gammas = wp.array(ptr=p.gamma, shape=(p.num_streams,), dtype=wp.int64)
    count = counter[row]
    start = wp.uint64(keys[row])
    step = wp.uint64(gammas[row])
    first = part * p.num_of_part
    last = wp.min(first + p.num_of_part, p.num_each)
    shape = (p.num_rows, p.num_each)
    if p.kind == _UNIFORM:
        floats = wp.array(ptr=p.out, shape=shape, dtype=wp.float32)
        for j in range(first, last):
            floats[i, j] = _uniform(_bits(start, step, count + wp.int64(j + 1)), p.a, p.b)
    elif p.kind == _NORMAL:
        normals = wp.array(ptr=p.out, shape=shape, dtype=wp.float32)
        for j in range(first, last):
            normals[i, j] = _normal(_bits(start, step, count + wp.int64(j + 1)), p.a, p.b)
    elif p.kind == _INTEGER:
        integers = wp.array(ptr=p.out, shape=shape, dtype=wp.int64)
        for j in range(first, last):
            integers[i, j] = _integer(_bits(start, step, count + wp.int64(j + 1)), p.low, p.span)
    else:
        doubles = wp.array(ptr=p.out, shape=shape, dtype=wp.float64)
        for j in range(first, last):
            doubles[i, j] = _unit(_bits(start, step, count + wp.int64(j + 1)))
    if p.advances != 0:
        counter[row] = count + wp.int64(p.num_each)


class WarpEngine:
    """See :class:`~holdstep.envs.state.random_kinds.Engine`.

    Numbers are those of :class:`~holdstep.envs.state.random_kinds.TorchEngine`, bit for bit; normal
    ones up to the rounding of log and cos in float64, which a float32 result shows once in some
    hundred million numbers.

    Launches run on torch's current stream, and are prepared: making one takes Warp ten times as
    long as repeating it. One serves all draws of up to so many threads, a power of two; the
    superfluous ones do nothing. What draws differ in is written in place, into the parameters that
    all prepared launches share: a launch copies them before it returns, also while a CUDA graph is
    captured.
    """

    def __init__(self, rng: PerEnvRng) -> None:
        wp.init()
        self._device = rng.device
        self._on_cpu = rng.device.type == "cpu"
        self._rng = rng  # kept alive: the parameters hold the addresses of its tensors
        self._parameters = _HostParameters(
            counter=rng.counter.data_ptr(),
            key=rng.key.data_ptr(),
            gamma=rng.gamma.data_ptr(),
            num_streams=rng.num_envs,
        )
        self._launches: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        # Compiles the kernel now, not in the middle of the first step.
        scratch = torch.empty(1, 1, dtype=torch.float32, device=rng.device)
        self.draw(scratch, Kind.UNIFORM, 0.0, 1.0, None, advances=False)

    def draw(
        self,
        out: torch.Tensor,
        kind: Kind,
        a: float,
        b: float,
        ids: torch.Tensor | None,
        *,
        advances: bool = True,
    ) -> None:
        """See :class:`~holdstep.envs.state.random_kinds.Engine`."""
        num_threads = num_rows = out.shape[0]
        num_each = out.numel() // num_rows
        parameters = self._parameters
        # On a CPU threads are a loop: a row is one iteration of it, however long it is.
        if num_each <= MAX_NUMBERS_OF_ROW_THREAD or self._on_cpu:
            parameters.num_parts = 1
            parameters.num_of_part = num_each
            parameters.advances = advances
            advances = False
        else:
            num_of_part = 1 + num_rows * num_each // MAX_THREADS
            parameters.num_parts = num_parts = -(-num_each // num_of_part)
            parameters.num_of_part = num_of_part
            parameters.advances = False
            num_threads *= num_parts
        parameters.out = out.data_ptr()
        parameters.ids = 0 if ids is None else ids.data_ptr()
        parameters.num_rows = num_rows
        parameters.num_each = num_each
        parameters.kind = kind
        if kind is Kind.INTEGER:
            parameters.low = int(a)
            parameters.span = int(b)
        else:
            parameters.a = a
            parameters.b = b
        size = (num_threads - 1).bit_length()
        launch = self._launches.get(size) or self._prepared(size)
        launch.launch(stream=None if self._on_cpu else self._stream())
        if advances:
            advance(self._rng, ids, num_rows, num_each)

    def _prepared(self, size: int) -> Any:
        """A launch of ``2**size`` threads."""
        launch = wp.launch(
            _draw, dim=2**size, inputs=[_Parameters()], device=str(self._device), record_cmd=True
        )
        launch.set_param_at_index_from_ctype(0, self._parameters)
        self._launches[size] = launch
        return launch

    def _stream(self) -> Any:
        pointer = _current_stream(self._device)
        stream = self._streams.get(pointer)
        if stream is None:
            torch_stream = torch.cuda.current_stream(self._device)
            stream = self._streams[pointer] = wp.stream_from_torch(torch_stream)
        return stream


def _current_stream(device: torch.device) -> int:
    """Address of torch's current stream."""
    if _raw_stream is not None:  # a twentieth of the time that making a Stream takes
        return int(_raw_stream(device.index))
    return int(torch.cuda.current_stream(device).cuda_stream)


_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)
