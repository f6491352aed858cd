"""Files are run beside the module that they were made from, on inputs that they never saw."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import pytest
import torch

from holdstep.errors import ReplayError
from holdstep.wrappers.export.backends import make_backend
from holdstep.wrappers.export.backends.base import Signature
from holdstep.wrappers.export.validation.replay import Replayer
from tests.wrappers.export.tiny import (
    METHODS,
    TinyPipeline,
    example_inputs,
    export_tiny,
    new_contract,
    new_pipeline,
)

EXACT = {"jit-trace", "exported-program"}


class Branches(TinyPipeline):
    """Decides by a value."""

    def forward(self, joint_pos, *rest):
        if bool((joint_pos.sum(1) > -100.0).all()) and bool(joint_pos[0, 0] > 0):
            joint_pos = -joint_pos
        return super().forward(joint_pos, *rest)


class FixedRows(TinyPipeline):
    """Has a tensor with as many rows as there were in the trace."""

    def forward(self, joint_pos, *rest):
        return super().forward(joint_pos + torch.zeros(5, 3), *rest)


class MixesRows(TinyPipeline):
    """Works for any number of rows, but with another result for each number."""

    def forward(self, joint_pos, *rest):
        return super().forward(joint_pos - joint_pos.mean(0), *rest)


def replay(folder, method, module, *, limit=1e-5, live=None):
    live = live or example_inputs(5)
    signature = Signature.of(new_contract(), "policy")
    model = make_backend("torch", method).export(module, live, signature, folder)
    blamed = []

    def blame(traced, given):
        blamed.append((traced, given))
        return "group/term"

    replayer = Replayer(
        folder, new_contract(), torch.device("cpu"), limit=limit, blame=blame, seed=1
    )
    return replayer.replay(model, module, live), blamed


@pytest.mark.parametrize("method", METHODS)
def test_a_faithful_file(tmp_path, method):
    limit = 0.0 if method in EXACT else 1e-5
    result, blamed = replay(tmp_path, method, new_pipeline(), limit=limit)
    assert result.max_diff <= limit
    assert result.model.batch is None
    assert not blamed


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_what_was_decided_in_the_trace_is_seen(tmp_path):
    torch.manual_seed(0)
    live = (torch.full((5, 3), 0.2), *example_inputs(5)[1:])
    with pytest.raises(ReplayError, match=r"jit-trace.*'group/term' is to blame") as caught:
        replay(tmp_path, "jit-trace", Branches().eval(), live=live)
    assert caught.value.term == "group/term"


@pytest.mark.parametrize("method", ["jit-trace", "onnx-torchscript", "exported-program"])
@pytest.mark.parametrize("module", [FixedRows, MixesRows])
def test_the_number_of_rows_is_found_out(tmp_path, module, method):
    torch.manual_seed(0)
    result, _ = replay(tmp_path, method, module().eval())
    assert result.model.batch == 5


def test_another_models_file_is_seen(tmp_path):
    signature = Signature.of(new_contract(), "policy")
    live = example_inputs(5)
    model = make_backend("torch", "jit-trace").export(new_pipeline(), live, signature, tmp_path)
    torch.manual_seed(7)
    replayer = Replayer(
        tmp_path, new_contract(), torch.device("cpu"), limit=1e-5, blame=lambda *_: None
    )
    with pytest.raises(ReplayError, match="No term has anything baked in"):
        replayer.replay(model, TinyPipeline().eval(), live)
    apply = dataclasses.replace(model, graph="policy", sha256=None)
    assert replayer.replay(apply, new_pipeline(), live).max_diff == 0.0


@pytest.mark.parametrize("backend", ["torch", "leapp"])
@pytest.mark.parametrize("method", METHODS)
def test_files_do_not_say_where_they_were_made(tmp_path, method, backend):
    export_tiny(tmp_path / "out", method, backend=backend, num_rows=5 if backend == "torch" else 1)
    folders = {Path(torch.__file__).parents[1], Path(__file__).parents[3], tmp_path}
    for file in (tmp_path / "out").rglob("*.*"):
        contents = [file.read_bytes()]
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                contents += [archive.read(name) for name in archive.namelist()]
        for folder in folders:
            assert not any(str(folder).encode() in content for content in contents), file.name
