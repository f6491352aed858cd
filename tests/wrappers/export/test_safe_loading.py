"""Model files from others can't run code, and torch would let some of these."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from holdstep.errors import HoldstepError, ModelFileError
from holdstep.wrappers.export.backends.base import Signature
from holdstep.wrappers.export.contract import ModelFile
from holdstep.wrappers.export.contract_file import write_contract
from holdstep.wrappers.export.model_runner import load
from holdstep.wrappers.export.runtimes.size_expressions import is_harmless
from holdstep.wrappers.export.runtimes.vetted_program import vetted_program
from tests.wrappers.export.tiny import export_tiny, new_contract

PROGRAM = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pt2")
    contract = export_tiny(folder, "exported-program")
    return (folder / contract.models[0].file).read_bytes()


def edited(data, edits=None, extra=None):
    """An archive with members changed by functions of their bytes, and others added."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(result, "w") as copy:
        root = archive.namelist()[0].partition("/")[0]
        for name in archive.namelist():
            content = archive.read(name)
            change = (edits or {}).get(name.removeprefix(f"{root}/"))
            copy.writestr(name, content if change is None else change(content))
        for name, content in (extra or {}).items():
            copy.writestr(f"{root}/{name}", content)
    return result.getvalue()


def in_program(change):
    """An edit of the program's JSON."""

    def edit(content):
        program = json.loads(content)
        change(program["graph_module"]["graph"], program)
        return json.dumps(program).encode()

    return edit


def pickled(bomb):
    buffer = io.BytesIO()
    torch.save({"x": bomb}, buffer)
    return buffer.getvalue()


def first_node(graph, prefix="torch.ops.aten"):
    return next(node for node in graph["nodes"] if node["target"].startswith(prefix))


def pickled_weight(data, marker):
    def use_pickle(content):
        config = json.loads(content)
        next(iter(config["config"].values()))["use_pickle"] = True
        return json.dumps(config).encode()

    return edited(
        data, {WEIGHTS: use_pickle, "data/weights/weight_0": lambda _: pickled(Bomb(marker))}
    )


def sample_inputs(data, marker):
    return edited(data, {SAMPLES: lambda _: pickled(Bomb(marker))})


def any_function_of_torch(data, marker):
    def call_system(graph, _):
        node = first_node(graph)
        node["target"] = "torch.os.system"
        node["inputs"] = [
            {"name": "command", "arg": {"as_string": f"touch {marker}"}, "kind": 1},
        ]

    return edited(data, {PROGRAM: in_program(call_system)})


def size_expression(data, marker):
    def evaluate(_, program):
        text = json.dumps(program)
        symbol = re.search(r'"expr_str": "(Symbol\([^"]*)"', text)[1]
        code = f"__import__('pathlib').Path('{marker}').touch() or {symbol}"
        planted = json.loads(text.replace(f'"{symbol}"', json.dumps(code), 1))
        program.clear()
        program.update(planted)

    return edited(data, {PROGRAM: in_program(evaluate)})


def name_that_is_code(data, marker):
    def rename(graph, _):
        node = first_node(graph)
        old = node["outputs"][0]["as_tensor"]["name"]
        new = f"x = __import__('pathlib').Path('{marker}').touch(); {old}"
        text = json.dumps(graph).replace(json.dumps(old), json.dumps(new))
        graph.clear()
        graph.update(json.loads(text))

    return edited(data, {PROGRAM: in_program(rename)})


def guard_that_is_code(data, marker):
    def guard(_, program):
        code = f"__import__('pathlib').Path('{marker}').touch() is None"
        program["guards_code"] = [code]

    return edited(data, {PROGRAM: in_program(guard)})


def opaque_object(data, marker):
    def refer(content):
        config = json.loads(content)
        config["config"]["bomb"] = {
            "path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None,
        }  # fmt: skip
        return json.dumps(config).encode()

    return edited(
        data,
        {"data/constants/model_constants_config.json": refer},
        {"data/constants/opaque_obj_0": pickle.dumps(Bomb(marker))},
    )


def compiled_library(data, marker):
    return edited(data, extra={"data/aotinductor/model/model.so": b"\x7fELF"})


PLANTED = [
    pickled_weight,
    sample_inputs,
    any_function_of_torch,
    size_expression,
    name_that_is_code,
    guard_that_is_code,
    opaque_object,
    compiled_library,
]

RUN_WITH_TORCH = """
import sys, torch
program = torch.export.load(sys.argv[1])
module = program.module()
module(*[torch.zeros(3, *shape) for shape in ((3,), (2,), (4, 3))],
       torch.zeros(3, dtype=torch.int64), torch.zeros(3, 1, 8))
"""


def write_folder(folder, data):
    """An export that holds this program, as its author would hand it over."""
    folder.mkdir()
    contract = new_contract()
    signature = Signature.of(contract, "policy")
    model = ModelFile(
        "policy.pt2", "torch:exported-program", "policy",
        signature.input_names, signature.output_names,
    )  # fmt: skip
    (folder / "policy.pt2").write_bytes(data)
    write_contract(dataclasses.replace(contract, models=(model,)), folder)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_programs_do_nothing(program, tmp_path, plant):
    marker = tmp_path / "was_here"
    write_folder(tmp_path / "export", plant(program, marker))
    with contextlib.suppress(HoldstepError):  # refused, or run without what was planted
        runner = load(tmp_path / "export", num_rows=3)
        runner.step(
            {"state:robot:joint_pos": torch.zeros(3, 3), "command:twist": torch.zeros(3, 2)}
        )
    assert not marker.exists()


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (pickled_weight, "unpickling can run code"),
        (any_function_of_torch, "only operators of aten"),
        (size_expression, "for a size"),
        (name_that_is_code, "for a name"),
        (opaque_object, "pickled|lies in|may be code"),
        (compiled_library, "may be code"),
    ],
)
def test_what_was_found_is_said(program, tmp_path, plant, said):
    with pytest.raises(ModelFileError, match=said):
        vetted_program(plant(program, tmp_path / "was_here"), file="policy.pt2")


@pytest.mark.parametrize(
    "plant", [pickled_weight, sample_inputs, size_expression], ids=lambda plant: plant.__name__
)
def test_torch_itself_would_run_them(program, tmp_path, plant):
    """Otherwise the test above would show nothing."""
    marker = tmp_path / "was_here"
    file = tmp_path / "planted.pt2"
    file.write_bytes(plant(program, marker))
    subprocess.run(
        [sys.executable, "-c", RUN_WITH_TORCH, str(file)], capture_output=True, check=False
    )
    assert marker.exists()


class WritesAFile(torch.nn.Module):
    """In TorchScript, which knows how to map a file into memory and so to make one."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def forward(self, joint_pos, command, history, count, hidden):
        made = torch.from_file(self.file, shared=True, size=4)
        return joint_pos + made.sum(), joint_pos, history, count, hidden


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_runs_on_request_only(tmp_path):
    marker = tmp_path / "was_here"
    contract = export_tiny(tmp_path / "export", "jit-trace")
    model = dataclasses.replace(contract.models[0], sha256=None)
    torch.jit.script(WritesAFile(str(marker))).save(str(tmp_path / "export" / model.file))
    write_contract(dataclasses.replace(contract, models=(model,)), tmp_path / "export")
    with pytest.raises(ModelFileError, match="can write any file"):
        load(tmp_path / "export", num_rows=3)
    assert not marker.exists()
    inputs = {"state:robot:joint_pos": torch.zeros(3, 3), "command:twist": torch.zeros(3, 2)}
    load(tmp_path / "export", num_rows=3, allow_jit=True).step(inputs)
    assert marker.exists()  # so the refusal is no empty gesture


def test_an_onnx_file_reads_nothing_outside_its_folder(tmp_path):
    onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    contract = export_tiny(tmp_path / "export", "onnx-torchscript")
    model = dataclasses.replace(contract.models[0], sha256=None)
    file = tmp_path / "export" / model.file
    graph = onnx.load(str(file))
    weight = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (tmp_path / "secret").write_bytes(weight.raw_data)
    onnx.external_data_helper.set_external_data(weight, location="../secret")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    file.write_bytes(graph.SerializeToString())
    write_contract(dataclasses.replace(contract, models=(model,)), tmp_path / "export")
    with pytest.raises(ModelFileError, match=r"policy\.onnx"):
        load(tmp_path / "export", num_rows=3)


@pytest.mark.parametrize("member", ["models/model.json", WEIGHTS])
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff", b"1e999"])
def test_nonsense_in_a_program_is_an_error_that_names_the_file(program, tmp_path, member, content):
    write_folder(tmp_path / "export", edited(program, {member: lambda _: content}))
    with pytest.raises(ModelFileError, match=r"policy\.pt2"):
        load(tmp_path / "export", num_rows=3)


@pytest.mark.parametrize(
    ("expression", "harmless"),
    [
        ("Symbol('s23', positive=True, integer=True)", True),
        ("Mul(Integer(14), Symbol('s23', positive=True, integer=True))", True),
        ("2*s0 + 1", True),
        ("-s0//2", True),
        ("u3", True),
        ("exec", False),
        ("exec(s0)", False),
        ("Symbol('__import__')", False),
        ("Symbol.mro()", False),
        ("().__class__", False),
        ("[s0 for s0 in u1]", False),
        ("lambda: s0", False),
        ("2**9999999999", False),
        ("Symbol('s0', **u1)", False),
        ("s0\nimport os", False),
        ("(" * 5000, False),
    ],
)
def test_sizes_are_arithmetic(expression, harmless):
    assert is_harmless(expression) == harmless
