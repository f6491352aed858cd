"""ONNX files, run by onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from holdstep.errors import ModelFileError
from holdstep.extras import require

if TYPE_CHECKING:
    from holdstep.wrappers.export.runtimes.base import Value
    from holdstep.wrappers.export.runtimes.layout import Layout, Slot

_ONNX_TYPES = {
    torch.float16: "tensor(float16)",
    torch.float32: "tensor(float)",
    torch.float64: "tensor(double)",
    torch.int8: "tensor(int8)",
    torch.int16: "tensor(int16)",
    torch.int32: "tensor(int32)",
    torch.int64: "tensor(int64)",
    torch.uint8: "tensor(uint8)",
    torch.bool: "tensor(bool)",
}


class OnnxRuntime:
    """Runs an ONNX model on buffers that are bound once.

    For a policy of a robot, handing arrays to onnxruntime takes about as long as computing it. So
    everything lies in buffers that it knows from the start; memories have two each, and the model
    reads from one while it writes the other.

    Args:
        data: the ONNX file's bytes.
        layout: of its tensors.
        num_threads: that one step may use. More than one is slower for small networks.
        file: the file's name, for messages.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelFileError: the file is no ONNX model, or has other inputs and outputs.
    """

    def __init__(
        self, data: bytes, layout: Layout, *, num_threads: int = 1, file: str = ""
    ) -> None:
        self._session = _new_session(data, num_threads, file)
        _check_tensors(self._session, layout, file)
        taken = {tensor.name for tensor in self._session.get_inputs()}
        self._inputs = [slot.new_buffer() for slot in layout.inputs]
        self._arrays = [buffer.numpy() for buffer in self._inputs]
        self._outputs = [slot.new_buffer() for slot in layout.outputs]
        memories = [[slot.new_buffer() for slot in layout.memories] for _ in range(2)]
        self._memories = [
            [slot.by_rows(buffer) for slot, buffer in zip(layout.memories, buffers, strict=True)]
            for buffers in memories
        ]
        self._turn = 0
        self._bindings = []
        for turn in range(2):
            binding = self._session.io_binding()
            before, after = memories[turn], memories[1 - turn]
            for slot, buffer in zip(layout.taken, self._inputs + before, strict=True):
                # Exporters drop inputs on which nothing depends.
                if slot.name in taken:
                    binding.bind_input(slot.name, "cpu", 0, *_address(buffer))
            for slot, buffer in zip(layout.returned, self._outputs + after, strict=True):
                binding.bind_output(slot.name, "cpu", 0, *_address(buffer))
            self._bindings.append(binding)

    @property
    def memories(self) -> Sequence[torch.Tensor]:
        """What the model will be given, ``[N, *shape]`` each, on the CPU."""
        return self._memories[self._turn]

    def step(self, inputs: Sequence[Value]) -> list[torch.Tensor]:
        """Run the model once."""
        for array, value in zip(self._arrays, inputs, strict=True):
            # NumPy copies small arrays several times faster than torch does.
            np.copyto(array, value if isinstance(value, np.ndarray) else value.numpy(force=True))
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        return [output.clone() for output in self._outputs]


def _new_session(data: bytes, num_threads: int, file: str) -> Any:
    onnxruntime = require("onnxruntime", extra="export", purpose="Running an ONNX model")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Threads that spin while there is nothing to do take the cores from the simulator.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; those that matter are raised anyway
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base class
        raise ModelFileError(f"onnxruntime can't load {file!r}: {error}") from error


def _check_tensors(session: Any, layout: Layout, file: str) -> None:
    problems = [
        *_problems("input", session.get_inputs(), layout.taken, all_needed=False),
        *_problems("output", session.get_outputs(), layout.returned, all_needed=True),
    ]
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ModelFileError(f"{file!r} is not the model of its contract:\n{listed}")


def _problems(
    what: str, tensors: Sequence[Any], slots: Sequence[Slot], *, all_needed: bool
) -> Iterator[str]:
    by_name = {slot.name: slot for slot in slots}
    for tensor in tensors:
        slot = by_name.pop(tensor.name, None)
        if slot is None:
            yield f"{what} {tensor.name!r} is not in the contract."
            continue
        if tensor.type != _ONNX_TYPES[slot.dtype]:
            yield f"{what} {tensor.name!r} is a {tensor.type}, not {_ONNX_TYPES[slot.dtype]}."
        # Dimensions that are free have a name, or None.
        sizes = [size if isinstance(size, int) else None for size in tensor.shape]
        if len(sizes) != len(slot.shape) or any(
            size not in (None, expected) for size, expected in zip(sizes, slot.shape, strict=True)
        ):
            shape = list(slot.shape)
            yield f"{what} {tensor.name!r} has shape {tensor.shape}, not {shape}."
    if all_needed:
        yield from (f"it has no {what} {name!r}." for name in by_name)


def _address(buffer: torch.Tensor) -> tuple[type[np.generic], tuple[int, ...], int]:
    return buffer.numpy().dtype.type, tuple(buffer.shape), buffer.data_ptr()
