"""A small pipeline with every kind of memory, made by hand, and its contract."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from holdstep.wrappers.export.backends import make_backend
from holdstep.wrappers.export.backends.base import Signature
from holdstep.wrappers.export.contract import (
    CONTRACT_VERSION,
    Contract,
    Memory,
    ModelFile,
    TensorSpec,
)
from holdstep.wrappers.export.contract_file import write_contract

METHODS = ("onnx-dynamo", "onnx-torchscript", "jit-script", "jit-trace", "exported-program")
JOINTS = ("hip", "knee", "ankle")
JOINT_POS = "state:robot:joint_pos"
COMMAND = "command:twist"
TARGET = "write:robot:set_joint_position_target"


class TinyPipeline(torch.nn.Module):
    """Position history, a counter that back-fills it, a GRU, and scaled joint targets.

    Inputs ``[N, 3]`` and ``[N, 2]``; memories ``[N, 4, 3]``, ``[N]`` int64 and ``[N, 1, 8]``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(14, 8)
        self.head = torch.nn.Linear(8, 3)
        self.register_buffer("offset", torch.tensor([0.1, -0.2, 0.3]))

    def forward(self, joint_pos, command, history, count, hidden):
        first = (count == 0)[:, None, None]
        pushed = torch.cat([history[:, 1:], joint_pos[:, None]], dim=1)
        history = torch.where(first, joint_pos[:, None].expand(-1, 4, -1), pushed)
        features = torch.cat([history.flatten(1), command], dim=1)
        output, state = self.gru(features[None], hidden.transpose(0, 1).contiguous())
        action = self.head(output[0])
        return action * 0.5 + self.offset, action, history, count + 1, state.transpose(0, 1)


def new_pipeline() -> TinyPipeline:
    torch.manual_seed(0)
    return TinyPipeline().eval()


def new_contract(**changes) -> Contract:
    contract = Contract(
        version=CONTRACT_VERSION,
        task="test:Tiny",
        simulator="test",
        created_with={"torch": str(torch.__version__)},
        step_dt=0.02,
        physics_dt=0.005,
        decimation=4,
        traced_num_envs=5,
        inputs=(
            TensorSpec.of(JOINT_POS, (3,), unit="rad", element_names=JOINTS),
            TensorSpec.of(COMMAND, (2,)),
        ),
        memories=(
            Memory(TensorSpec.of("memory:history", (4, 3))),
            Memory(TensorSpec.of("memory:count", (), dtype="int64"), kind="counter"),
            Memory(TensorSpec.of("memory:hidden", (1, 8)), reset=(0.5,) * 8, kind="hidden"),
        ),
        outputs=(
            TensorSpec.of(TARGET, (3,), unit="rad", element_names=JOINTS),
            TensorSpec.of("action", (3,)),
        ),
    )
    return dataclasses.replace(contract, **changes)


def example_inputs(num_rows: int = 5, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(num_rows, 3, generator=generator),
        torch.randn(num_rows, 2, generator=generator),
        torch.randn(num_rows, 4, 3, generator=generator),
        torch.arange(num_rows) % 3,
        torch.randn(num_rows, 1, 8, generator=generator),
    )


def export_tiny(
    folder: Path, method: str = "onnx-dynamo", *, backend: str = "torch", num_rows: int = 5
) -> Contract:
    """Write the tiny pipeline's model and contract into a folder."""
    contract = new_contract()
    signature = Signature.of(contract, "policy")
    folder.mkdir(parents=True, exist_ok=True)
    model: ModelFile = make_backend(backend, method).export(
        new_pipeline(), example_inputs(num_rows), signature, folder
    )
    contract = dataclasses.replace(contract, models=(model,))
    write_contract(contract, folder)
    return contract


def initial_memories(num_rows: int) -> list[torch.Tensor]:
    return [
        torch.zeros(num_rows, 4, 3),
        torch.zeros(num_rows, dtype=torch.int64),
        torch.full((num_rows, 1, 8), 0.5),
    ]
