"""Does the model file compute what the module does that it was made from?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from holdstep.errors import HoldstepError, ReplayError
from holdstep.wrappers.export.contract import ModelFile
from holdstep.wrappers.export.model_files import read_model_file
from holdstep.wrappers.export.model_runner import load_runtime
from holdstep.wrappers.export.validation.blame import advice
from holdstep.wrappers.export.validation.differences import difference

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import Contract
    from holdstep.wrappers.export.runtimes.base import Runtime

NUM_SAMPLES = 8


@dataclass(frozen=True)
class Replay:
    """How a model file did.

    Attributes:
        model: its entry in the contract, with the number of rows that it can run for.
        max_diff: largest scaled difference to the module.
    """

    model: ModelFile
    max_diff: float


class Replayer:
    """Runs model files beside their module.

    Args:
        folder: where the files are.
        contract: what goes in and out.
        device: where the module computes.
        limit: the largest scaled difference that is allowed.
        blame: finds the term that makes a graph's file differ, from the inputs that it was traced
            with and those in which it was seen; None if it finds none.
        seed: of the random inputs.
    """

    def __init__(
        self,
        folder: Path,
        contract: Contract,
        device: torch.device,
        *,
        limit: float,
        blame: Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], str | None],
        seed: int = 0,
    ) -> None:
        self._folder = folder
        self._contract = contract
        self._device = device
        self._limit = limit
        self._blame = blame
        self._seed = seed

    def replay(
        self, model: ModelFile, module: torch.nn.Module, live: Sequence[torch.Tensor]
    ) -> Replay:
        """Run a model file and its module on the same inputs: the live ones, and random others.

        Args:
            model: the file's entry in the contract.
            module: what it was made from.
            live: inputs and memories that the env had, ``[N, *shape]`` each.

        Raises:
            ReplayError: they differ, or the file can't be run.
        """
        num_rows = len(live[0])
        baked = dataclasses.replace(model, batch=num_rows)
        runtime = self._runtime(baked, num_rows)
        largest = 0.0
        kept = []
        for inputs in self._samples(live):
            with torch.no_grad():
                expected = list(module(*[tensor.clone() for tensor in inputs]))
            got = _run(runtime, inputs)
            problem, differs_by = self._compare(model, got, expected)
            if problem is not None:
                term = self._blame(live, inputs) if model.graph == "policy" else None
                raise ReplayError(f"{problem} {advice(term)}", term=term)
            largest = max(largest, differs_by)
            kept.append((inputs, got))
        if model.batch is None and self._runs_for_other_numbers(model, kept):
            return Replay(model, largest)
        return Replay(baked, largest)

    def _runtime(self, model: ModelFile, num_rows: int) -> Runtime:
        data = read_model_file(self._folder, model)
        return load_runtime(data, self._contract, model, num_rows, self._device, allow_jit=True)

    def _compare(
        self, model: ModelFile, got: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]
    ) -> tuple[str | None, float]:
        """What is wrong, if anything, and the largest scaled difference."""
        largest = 0.0
        for name, left, right in zip(model.outputs, got, expected, strict=True):
            found = difference(left.cpu(), right.cpu())
            if not found.scaled <= self._limit:
                at = "" if found.index is None else f" at {list(found.index)}"
                return (
                    f"{model.file!r} ({model.backend}) differs from the pipeline that it was made "
                    f"from: {name} by {found.absolute:.3g}{at} (scaled {found.scaled:.3g}, allowed "
                    f"{self._limit:.3g}; shapes {list(left.shape)} and {list(right.shape)})."
                ), found.scaled
            largest = max(largest, found.scaled)
        return None, largest

    def _runs_for_other_numbers(
        self, model: ModelFile, kept: Sequence[tuple[list[torch.Tensor], list[torch.Tensor]]]
    ) -> bool:
        """Whether rows come out the same when more or fewer are run.

        A trace can have the number of rows baked in without anybody noticing, and then returns
        results of the wrong shape, or of the wrong rows.
        """
        num_rows = len(kept[0][0][0])
        for other in {1, num_rows + 1, 2 * num_rows + 1} - {num_rows}:
            rows = torch.arange(other) % num_rows
            try:
                runtime = self._runtime(model, other)
                for inputs, outputs in kept[:2]:
                    got = _run(runtime, [tensor[rows] for tensor in inputs])
                    for left, right in zip(got, outputs, strict=True):
                        # Kernels for other sizes may add up in another order.
                        if not difference(left, right[rows]).scaled <= max(self._limit, 1e-4):
                            return False
            except (HoldstepError, RuntimeError, ValueError, IndexError):
                return False
            except Exception as error:  # onnxruntime's errors have no common base class
                if "onnxruntime" not in type(error).__module__:
                    raise
                return False
        return True

    def _samples(self, live: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        yield [tensor.clone() for tensor in live]
        generator = torch.Generator().manual_seed(self._seed)
        for sample in range(NUM_SAMPLES - 1):
            size = 0.1 if sample % 2 else 1.0
            yield [_perturbed(tensor, size, generator) for tensor in live]


def _perturbed(tensor: torch.Tensor, size: float, generator: torch.Generator) -> torch.Tensor:
    """Random values around the live ones; integers, which may be indices, stay."""
    if not tensor.is_floating_point():
        return tensor.clone()
    noise = torch.randn(tensor.shape, generator=generator).to(tensor)
    return tensor + size * noise * (1.0 + tensor.abs())


def _run(runtime: Runtime, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """One step from given memories: the outputs, then the memories' updates."""
    memories = runtime.memories
    num_inputs = len(inputs) - len(memories)
    for memory, value in zip(memories, inputs[num_inputs:], strict=True):
        memory.copy_(value)
    outputs = runtime.step(inputs[:num_inputs])
    return [*outputs, *(memory.clone() for memory in runtime.memories)]
