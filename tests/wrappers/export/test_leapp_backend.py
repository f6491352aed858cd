"""LEAPP is one object of the process: it is always stopped, and what it changed is put back."""

from __future__ import annotations

import logging

import pytest
import torch

from holdstep.errors import TraceError
from holdstep.wrappers.export.backends import make_backend
from holdstep.wrappers.export.backends.base import Signature
from tests.wrappers.export.tiny import TinyPipeline, example_inputs, new_contract, new_pipeline


class Breaks(TinyPipeline):
    """Fails in the middle of a trace."""

    def forward(self, joint_pos, *rest):
        raise ValueError("the network broke")


def process_state():
    from leapp.export_manager import ExportManager

    logger = logging.getLogger("leapp")
    return {
        "session": ExportManager.is_interpret_graph_enabled(),
        "nodes": dict(ExportManager().get_nodes()),
        "jit": torch.jit._state._enabled.enabled,
        "functions": [id(f) for f in (torch.tensor, torch.as_tensor, torch.from_numpy)],
        "logging": (list(logger.handlers), logger.level, logger.propagate),
        "grad": torch.is_grad_enabled(),
    }


def export(folder, module, method="jit-trace"):
    signature = Signature.of(new_contract(), "policy")
    return make_backend("leapp", method).export(module, example_inputs(1), signature, folder)


@pytest.fixture(params=[True, False])
def jit_enabled(request):
    before = torch.jit._state._enabled.enabled
    torch.jit._state._enabled.enabled = request.param
    yield
    torch.jit._state._enabled.enabled = before


@pytest.mark.usefixtures("jit_enabled")
@pytest.mark.parametrize("module", [TinyPipeline, Breaks])
def test_the_process_is_as_it_was(tmp_path, module):
    before = process_state()
    if module is Breaks:
        with pytest.raises(TraceError, match="the network broke"):
            export(tmp_path, Breaks())
    else:
        export(tmp_path, new_pipeline(), "onnx-torchscript")
    assert process_state() == before
    export(tmp_path / "again", new_pipeline(), "onnx-torchscript")  # nothing is in the way
    assert process_state() == before


def test_the_callers_tensors_keep_their_class(tmp_path):
    inputs = example_inputs(1)
    copies = [tensor.clone() for tensor in inputs]
    signature = Signature.of(new_contract(), "policy")
    make_backend("leapp", "jit-trace").export(new_pipeline(), inputs, signature, tmp_path)
    assert all(type(tensor) is torch.Tensor for tensor in inputs)
    assert all(torch.equal(*pair) for pair in zip(inputs, copies, strict=True))
