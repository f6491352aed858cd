"""Runs an exported policy by its contract: named inputs in, named outputs out, memories kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from holdstep.envs.device import canonical_device
from holdstep.envs.env_ids import EnvIds, canonical_env_ids
from holdstep.errors import ConfigError, ModelFileError
from holdstep.wrappers.export.model_files import read_model_file
from holdstep.wrappers.export.model_inputs import InputCheck
from holdstep.wrappers.export.runtimes.base import RowLoop, Runtime, Value
from holdstep.wrappers.export.runtimes.layout import Layout

if TYPE_CHECKING:
    from holdstep.wrappers.export.contract import Contract, ModelFile

FORMATS = {".onnx": "ONNX", ".pt2": "exported program", ".pt": "TorchScript"}
"""What can be run, by the file's suffix."""


class ModelRunner:
    """An exported policy, ready to run for a number of rows.

    Each row has memories of its own: :meth:`reset` forgets those of rows whose episode ended, and
    nothing else is ever remembered between steps.

    Args:
        contract: what goes in and out.
        policy: runs the policy graph.
        apply: runs the apply graph, None without one.
        num_rows: robots, or envs.
        device: of the tensors that are returned.

    Attributes:
        contract: what goes in and out.
        num_rows: robots, or envs.
        device: of the tensors that are returned.
    """

    def __init__(
        self,
        contract: Contract,
        policy: Runtime,
        *,
        apply: Runtime | None = None,
        num_rows: int,
        device: torch.device,
    ) -> None:
        self.contract = contract
        self.num_rows = num_rows
        self.device = device
        self._policy = policy
        self._apply = apply
        self._check = InputCheck(contract.inputs, num_rows)
        given = {spec.connection for spec in contract.outputs}
        wanted = {spec.connection for spec in contract.apply_inputs}
        # Of what may be many large memories, those that are wanted before each physics step.
        self._apply_memories = {
            memory.spec.connection: index
            for index, memory in enumerate(contract.memories)
            if memory.spec.connection in wanted
        }
        given |= self._apply_memories.keys()
        self._handed_over = [spec.connection in given for spec in contract.apply_inputs]
        own = [spec for spec in contract.apply_inputs if spec.connection not in given]
        self._apply_check = InputCheck(own, num_rows)
        self._computed: dict[str, torch.Tensor] | None = None
        with torch.inference_mode(False):
            self._reset_rows = [
                torch.zeros(1, *memory.spec.shape, dtype=getattr(torch, memory.spec.dtype))
                if memory.reset is None
                else torch.tensor(memory.reset, dtype=getattr(torch, memory.spec.dtype)).reshape(
                    1, *memory.spec.shape
                )
                for memory in contract.memories
            ]
        self.reset()

    def step(self, inputs: Mapping[str, Value]) -> dict[str, torch.Tensor]:
        """Compute one control step.

        Args:
            inputs: by connection, tensors or arrays ``[N, *shape]`` for each of the contract's
                inputs; float64 is taken for float32. They are neither kept nor edited.

        Returns:
            By connection, tensors ``[N, *shape]`` on :attr:`device`, which the caller owns.

        Raises:
            ModelInputError: inputs are missing, unknown, or of another shape or type; all of them
                are listed, and nothing was computed.
        """
        values = self._check(inputs)
        outputs = self._policy.step(values)
        named = {
            spec.connection: output.to(self.device)
            for spec, output in zip(self.contract.outputs, outputs, strict=True)
        }
        if self._apply is not None:
            self._computed = dict(named)
        return named

    def apply(self, inputs: Mapping[str, Value]) -> dict[str, torch.Tensor]:
        """Compute what is written before a physics step, where the contract has an apply graph.

        Args:
            inputs: by connection, the contract's apply inputs as they are now; those that the
                policy graph computed are taken from its last step.

        Returns:
            By connection, the contract's apply outputs.

        Raises:
            ModelInputError: inputs are missing, unknown, or of another shape or type.
            ConfigError: there is no apply graph, or :meth:`step` was not called yet.
        """
        if self._apply is None:
            raise ConfigError(
                "This contract has no apply graph: step() returns all that is written."
            )
        if self._computed is None:
            raise ConfigError("apply() needs what step() computes in the same control step.")
        own = iter(self._apply_check(inputs))
        memories = self._policy.memories
        known: dict[str, Value] = {
            name: memories[index] for name, index in self._apply_memories.items()
        }
        known |= self._computed
        values = [
            known[spec.connection] if handed_over else next(own)
            for spec, handed_over in zip(self.contract.apply_inputs, self._handed_over, strict=True)
        ]
        outputs = self._apply.step(values)
        return {
            spec.connection: output.to(self.device)
            for spec, output in zip(self.contract.apply_outputs, outputs, strict=True)
        }

    def reset(self, env_ids: EnvIds | None = None) -> None:
        """Forget what rows remember.

        Args:
            env_ids: the rows, ids or a mask ``[N]``; None for all.

        Raises:
            InvalidEnvIdsError: ids that can't be meant.
        """
        ids = None
        if env_ids is not None:
            ids = canonical_env_ids(env_ids, num_envs=self.num_rows, device=torch.device("cpu"))
        for memory, row in zip(self._policy.memories, self._reset_rows, strict=True):
            if ids is None:
                memory.copy_(row.expand_as(memory))
            else:
                memory[ids.to(memory.device)] = row.to(memory.device)

    def memories(self) -> dict[str, torch.Tensor]:
        """Copies of what the rows remember, by connection."""
        return {
            memory.spec.connection: value.to(self.device, copy=True)
            for memory, value in zip(self.contract.memories, self._policy.memories, strict=True)
        }


def load(
    out_dir: str | Path,
    contract: Contract | None = None,
    num_rows: int = 1,
    device: str | torch.device = "cpu",
    *,
    num_threads: int = 1,
    allow_jit: bool = False,
) -> ModelRunner:
    """Load an exported policy from its folder.

    Nothing in the folder can run code, unless it is TorchScript and that is allowed.

    Args:
        out_dir: the folder with ``contract.yaml``.
        contract: what the file says, if it was read already.
        num_rows: robots, or envs.
        device: of the tensors that are returned. Models of torch also compute there; ONNX models
            compute on the CPU.
        num_threads: that an ONNX model may use.
        allow_jit: load TorchScript files, whose authors can write files here.

    Raises:
        ModelFileError: a model can't be loaded, is not what the contract says, or can't run for so
            many rows.
        ContractError: ``contract.yaml`` is malformed.
        MissingExtraError: onnxruntime is needed and not installed.
    """
    if contract is None:
        from holdstep.wrappers.export.contract_file import read_contract

        contract = read_contract(out_dir)
    if num_rows < 1:
        raise ConfigError(f"num_rows must be at least 1, got {num_rows}.")
    device = canonical_device(device)

    def runtime(graph: Literal["policy", "apply"]) -> Runtime:
        model = _model_of(contract, graph)
        data = read_model_file(out_dir, model)
        return load_runtime(
            data, contract, model, num_rows, device, num_threads=num_threads, allow_jit=allow_jit
        )

    return ModelRunner(
        contract,
        runtime("policy"),
        apply=runtime("apply") if contract.has_apply_graph else None,
        num_rows=num_rows,
        device=device,
    )


def load_runtime(
    data: bytes,
    contract: Contract,
    model: ModelFile,
    num_rows: int,
    device: torch.device,
    *,
    num_threads: int = 1,
    allow_jit: bool = False,
) -> Runtime:
    """What runs one model file, for any number of rows that it can.

    Args:
        data: the file's bytes.
        contract: what goes in and out.
        model: the file's entry in the contract.
        num_rows: robots, or envs.
        device: where models of torch compute.
        num_threads: that an ONNX model may use.
        allow_jit: load TorchScript files.

    Raises:
        ModelFileError: it can't be loaded, or can't run for so many rows.
    """
    if model.batch not in (None, 1, num_rows):
        raise ModelFileError(
            f"{model.file!r} was made for exactly {model.batch} rows, not {num_rows}. Export it "
            f"with num_envs={num_rows}, with num_envs=1 (then rows are computed one by one), or "
            "by a method that leaves the number open."
        )
    baked_rows = num_rows if model.batch is None else model.batch
    layout = Layout.of(contract, model, baked_rows)
    suffix = Path(model.file).suffix
    runtime: Runtime
    if suffix == ".onnx":
        from holdstep.wrappers.export.runtimes.onnx import OnnxRuntime

        runtime = OnnxRuntime(data, layout, num_threads=num_threads, file=model.file)
    elif suffix == ".pt2":
        from holdstep.wrappers.export.runtimes.exported_program import load_exported_program

        runtime = load_exported_program(data, layout, device, file=model.file)
    elif suffix == ".pt":
        from holdstep.wrappers.export.runtimes.torchscript import load_torchscript

        runtime = load_torchscript(data, layout, device, allow_jit=allow_jit, file=model.file)
    else:
        known = ", ".join(f"{suffix} ({name})" for suffix, name in FORMATS.items())
        raise ModelFileError(f"Nothing here runs {model.file!r}: known are {known}.")
    if baked_rows < num_rows:
        runtime = RowLoop(runtime, Layout.of(contract, model, num_rows))
    return runtime


def _model_of(contract: Contract, graph: Literal["policy", "apply"]) -> ModelFile:
    for model in contract.models:
        if model.graph == graph:
            return model
    raise ModelFileError(f"The contract names no model file for its {graph} graph.")
