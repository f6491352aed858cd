"""Files that take and return their tensors in other orders than the contract, or by other rows."""

from __future__ import annotations

import pytest
import torch

from holdstep.errors import ModelFileError
from holdstep.wrappers.export.backends.base import without_deprecations
from holdstep.wrappers.export.contract import Memory, ModelFile, TensorSpec
from holdstep.wrappers.export.model_runner import load
from holdstep.wrappers.export.runtimes.layout import Layout, Slot
from holdstep.wrappers.export.runtimes.torch_module import TorchRuntime
from tests.wrappers.export.contracts import contract_of


@pytest.mark.parametrize("count", [1, 3])
def test_a_model_that_returns_more_or_less_than_its_contract_has_is_refused(count):
    slot = Slot("x", torch.float32, (2, 3))
    layout = Layout(inputs=(slot,), memories=(slot,), outputs=(slot,), updates=(slot,))
    runtime = TorchRuntime(lambda x, kept: (x,) * count, layout, torch.device("cpu"))
    with pytest.raises(ModelFileError, match=f"returned {count} tensors, and its contract has 2"):
        runtime.step([torch.zeros(2, 3)])


class RowsInTheMiddle(torch.nn.Module):
    """A sum over steps that is kept as ``[layers, rows, size]``, between the inputs."""

    def forward(self, first, kept, second):
        kept = kept + torch.stack([first, 2 * second])
        return kept.sum(dim=0), kept, second - first


@pytest.mark.parametrize("suffix", [".pt", ".onnx"])
@pytest.mark.parametrize("batch", [1, 3])
def test_memories_stand_and_have_their_rows_where_the_file_says(tmp_path, suffix, batch):
    given = torch.zeros(batch, 4), torch.zeros(2, batch, 4), torch.zeros(batch, 4)
    names = ["first", "kept", "second"], ["total", "kept_next", "difference"]
    file = str(tmp_path / f"model{suffix}")
    with without_deprecations():
        if suffix == ".pt":
            torch.jit.trace(RowsInTheMiddle(), given).save(file)
        else:
            pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
            options = {"input_names": names[0], "output_names": names[1], "dynamo": False}
            torch.onnx.export(RowsInTheMiddle(), given, file, **options)
    model = ModelFile(
        file=f"model{suffix}",
        backend="torch",
        graph="policy",
        inputs=("first", "second", "kept"),
        outputs=("difference", "total", "kept_next"),
        batch=batch,
        input_order=tuple(names[0]),
        output_order=tuple(names[1]),
        memory_row_dims=(1,),
    )
    first, second = "state:robot:first", "state:robot:second"
    contract = contract_of(
        inputs=(TensorSpec.of(first, (4,)), TensorSpec.of(second, (4,))),
        memories=(Memory(TensorSpec.of("memory:kept", (2, 4)), reset=(*[5.0] * 4, *[0.0] * 4)),),
        outputs=(TensorSpec.of("obs:difference", (4,)), TensorSpec.of("obs:total", (4,))),
        models=(model,),
    )
    runner = load(tmp_path, contract, 3, allow_jit=True)
    a, b = torch.rand(3, 4), torch.rand(3, 4)
    kept = torch.tensor([[5.0], [0.0]]).expand(3, 2, 4).clone()
    for step in range(4):
        if step == 2:
            runner.reset([1])
            kept[1] = torch.tensor([[5.0], [0.0]])
        outputs = runner.step({first: a, second: b})
        kept += torch.stack([a, 2 * b], dim=1)
        assert torch.allclose(outputs["obs:total"], kept.sum(dim=1))
        assert torch.allclose(outputs["obs:difference"], b - a)
        assert torch.allclose(runner.memories()["memory:kept"], kept)
