"""Row streams in Warp: hash, distribution and counters in one kernel launch a draw."""

# Warp infers what its functions return, and has no types that mypy could check.
# ruff: noqa: ANN202
# mypy: disable-error-code="untyped-decorator,no-untyped-def,misc,valid-type"

from __future__ import annotations

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

_OUT, _IDS = 3, 4  # positions among the kernel's parameters

MAX_COMMANDS = 512
"""Launches that are kept prepared; there are as many as there are different draws in a step."""

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


@wp.func
def _write(
    out: wp.uint64,
    num_rows: int,
    num_each: int,
    i: int,
    first: int,
    last: int,
    kind: int,
    a: wp.float64,
    b: wp.float64,
    low: wp.int64,
    span: wp.uint64,
    start: wp.uint64,
    step: wp.uint64,
    count: wp.int64,
):
    shape = (num_rows, num_each)
    if kind == _UNIFORM:
        floats = wp.array(ptr=out, shape=shape, dtype=wp.float32)
        for j in range(first, last):
            floats[i, j] = _uniform(_bits(start, step, count + wp.int64(j + 1)), a, b)
    elif kind == _NORMAL:
        normals = wp.array(ptr=out, shape=shape, dtype=wp.float32)
        for j in range(first, last):
            normals[i, j] = _normal(_bits(start, step, count + wp.int64(j + 1)), a, b)
    elif kind == _INTEGER:
        integers = wp.array(ptr=out, shape=shape, dtype=wp.int64)
        for j in range(first, last):
            integers[i, j] = _integer(_bits(start, step, count + wp.int64(j + 1)), low, span)
    else:
        doubles = wp.array(ptr=out, shape=shape, dtype=wp.float64)
        for j in range(first, last):
            doubles[i, j] = _unit(_bits(start, step, count + wp.int64(j + 1)))


@wp.kernel(enable_backward=False)
def _draw(
    counter: wp.array(dtype=wp.int64),
    key: wp.array(dtype=wp.int64),
    gamma: wp.array(dtype=wp.int64),
    out: wp.uint64,
    ids: wp.uint64,
    num_rows: int,
    num_each: int,
    num_of_thread: int,
    kind: int,
    a: wp.float64,
    b: wp.float64,
    low: wp.int64,
    span: wp.uint64,
    advances: int,
) -> None:
    """A thread makes ``num_of_thread`` numbers of a row; all of them, where counters advance."""
    i, part = wp.tid()
    row = wp.int64(i)
    if ids != wp.uint64(0):
        rows = wp.array(ptr=ids, shape=(num_rows,), dtype=wp.int64)
        row = rows[i]
    count = counter[row]
    start = wp.uint64(key[row])
    step = wp.uint64(gamma[row])
    first = part * num_of_thread
    last = wp.min(first + num_of_thread, num_each)
    _write(out, num_rows, num_each, i, first, last, kind, a, b, low, span, start, step, count)
    if advances != 0:
        counter[row] = count + wp.int64(num_each)


class WarpEngine:
    """See :class:`~holdstep.envs.state.random_kinds.Engine`.

    Numbers are those of :class:`~holdstep.envs.state.random_kinds.TorchEngine`, bit for bit; normal
    ones up to the rounding of log and cos in float64, which a float32 result shows once in some
    hundred million numbers.

    Launches run on torch's current stream, and are kept prepared by their parameters: changing the
    two pointers of a prepared launch costs a quarter of making it.
    """

    def __init__(self, rng: PerEnvRng) -> None:
        wp.init()
        self._device = rng.device
        self._on_cpu = rng.device.type == "cpu"
        self._rng = rng  # kept alive: the prepared launches hold the addresses of its tensors
        self._state = [wp.from_torch(part) for part in (rng.counter, rng.key, rng.gamma)]
        self._commands: dict[tuple[Any, ...], Any] = {}
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
        num_rows = out.shape[0]
        num_each = out.numel() // num_rows
        fused = num_each <= MAX_NUMBERS_OF_ROW_THREAD or self._on_cpu
        parameters = (num_rows, num_each, kind, a, b, advances and fused)
        command = self._commands.get(parameters)
        if command is None:
            command = self._prepared(*parameters)
        command.set_param_at_index(_OUT, out.data_ptr())
        command.set_param_at_index(_IDS, 0 if ids is None else ids.data_ptr())
        if self._on_cpu:
            command.launch()
        else:
            command.launch(stream=self._stream())
        if advances and not fused:
            advance(self._rng, ids, num_rows, num_each)

    def _prepared(
        self, num_rows: int, num_each: int, kind: Kind, a: float, b: float, advances: bool
    ) -> Any:
        # On a CPU threads are a loop: a row is one iteration of it, however long it is.
        num_of_thread = num_each if advances or self._on_cpu else 1
        is_integer = kind is Kind.INTEGER
        command = wp.launch(
            _draw,
            dim=(num_rows, -(-num_each // num_of_thread)),
            inputs=[
                *self._state,
                0,
                0,
                num_rows,
                num_each,
                num_of_thread,
                int(kind),
                0.0 if is_integer else a,
                0.0 if is_integer else b,
                int(a) if is_integer else 0,
                int(b) if is_integer else 0,
                int(advances),
            ],
            device=str(self._device),
            record_cmd=True,
        )
        if len(self._commands) >= MAX_COMMANDS:
            self._commands.clear()
        self._commands[num_rows, num_each, kind, a, b, advances] = command
        return command

    def _stream(self) -> Any:
        torch_stream = torch.cuda.current_stream(self._device)
        stream = self._streams.get(torch_stream.cuda_stream)
        if stream is None:
            stream = self._streams[torch_stream.cuda_stream] = wp.stream_from_torch(torch_stream)
        return stream
